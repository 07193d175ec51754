// What is told in words.

const STATUS = ["pending", "computed", "failed", "interpolated"];

function tell() {
  const column = columns[state.column], { best } = column;
  const constant = best && column.scales.linear.constant;
  const at = (axis) => `${axis.letter} ${short(best[axis.name])}`;
  element("best").textContent = !best ? ""
    : constant ? `${column.words}: ${short(best.value)} everywhere`
    : `★ ${column.words}: ${best.kind} ${short(best.value)} at ${axes.map(at).join(", ")}`;
  element("notes").textContent = [column.gaps, landscape.notes].filter(Boolean).join("; ");
}

/** The table of all columns at the point under the mouse, else at the pinned one. */
function tellPoint() {
  const [row, column] = state.cursor || state.pin, [alpha, beta] = axes;
  element("place").textContent = `α ${short(alpha.at[column])}, β ${short(beta.at[row])}`;
  const told = Object.entries(columns).map(([name, { words, values }]) =>
    [words, short(values[row][column]), name === state.column]);
  told.push(["point", STATUS[status[row * alpha.at.length + column]], false]);
  element("values").replaceChildren(...told.map(([words, text, shown]) => {
    const line = document.createElement("tr");
    const head = Object.assign(document.createElement("th"), { scope: "row", textContent: words });
    line.append(head, Object.assign(document.createElement("td"), { textContent: text }));
    line.classList.toggle("shown", shown);
    return line;
  }));
}

function tellPin() {
  for (const [id, axis, index] of [["row", axes[1], state.pin[0]], ["col", axes[0], state.pin[1]]]) {
    const text = short(axis.at[index]);
    element(id).value = index;
    element(id).setAttribute("aria-valuetext", text);
    element(`${id}-value`).textContent = text;
  }
}
