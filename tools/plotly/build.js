// Bundles entry.js into lossgrid/view/browser/plotly.min.js, with the licenses of all that is in it beside it.
// The same packages (package-lock.json) give the same bytes; tests/tools/test_plotly.py sees that what is
// committed was built from what is committed here.
const { createHash } = require("node:crypto");
const { readFileSync, readdirSync, writeFileSync } = require("node:fs");
const { join } = require("node:path");
const esbuild = require("esbuild");

const OUTPUT = join(__dirname, "../../lossgrid/view/browser");
const SOURCES = ["build.js", "entry.js", "package-lock.json", "package.json"];

const read = (...path) => readFileSync(join(__dirname, ...path), "utf8");
const sha256 = (text) => createHash("sha256").update(text).digest("hex");

/** Folders of the packages that a bundle has something of. */
function packagesOf({ outputs }) {
  const inputs = Object.values(outputs).flatMap((output) => Object.entries(output.inputs));
  const used = inputs.filter(([, { bytesInOutput }]) => bytesInOutput > 0);
  const folders = used.map(([path]) => path.match(/^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/));
  return [...new Set(folders.filter(Boolean).map(([folder]) => folder))].sort();
}

function license(folder) {
  const { name, version, license: kind, author } = JSON.parse(read(folder, "package.json"));
  const files = readdirSync(join(__dirname, folder)).filter((file) => /^(licen[cs]e|copying)/i.test(file)).sort();
  const text = files.map((file) => read(folder, file).trim()).join("\n\n");
  const by = typeof author === "string" ? author : author?.name;
  return `==== ${name} ${version} (${kind})\n\n${text || `No license file; by ${by || "unknown"}.`}\n`;
}

/** Plotly brings stackgl's packages along in one file without their license files. */
function licensesOfStackgl() {
  const { packages } = JSON.parse(read("node_modules/plotly.js/stackgl_modules/package-lock.json"));
  const lines = Object.entries(packages).filter(([path, { dev }]) => path && !dev).map(([path, about]) =>
    `${path.replace(/^.*node_modules\//, "")} ${about.version} (${about.license || "see its repository"})`);
  return `==== plotly.js's stackgl_modules, made of\n\n${[...new Set(lines)].sort().join("\n")}\n`;
}

/** Characters above ASCII, all in strings and patterns, as escapes: a browser then holds a byte a character. */
const ascii = (code) =>
  code.replace(/[^\0-\x7f]/g, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`);

async function build() {
  const { metafile, outputFiles } = await esbuild.build({
    absWorkingDir: __dirname,
    entryPoints: ["entry.js"],
    bundle: true,
    minify: true,
    write: false,
    metafile: true,
    format: "iife", // in parentheses, so that V8 compiles it as it reads it
    globalName: "Plotly",
    target: "es2020",
    loader: { ".css": "empty" }, // of maps
    define: { global: "window", "define.amd": "false", "process.env.NODE_DEBUG": "false" },
  });
  const code = ascii(outputFiles[0].text);
  const plotly = JSON.parse(read("node_modules/plotly.js/package.json"));
  const copyright = read("node_modules/plotly.js/LICENSE").match(/^Copyright.*$/m)[0];
  const head = [
    `/*! plotly.js ${plotly.version}, in part. ${copyright}; ${plotly.license} license`,
    " * Licenses of all that is in here: lossgrid/view/browser/plotly.licenses.txt",
    ` * Made by tools/plotly, sha256 of its sources: ${sha256(SOURCES.map((file) => read(file)).join(""))}`,
    ` * sha256 of what follows: ${sha256(code)}`,
    " */",
  ];
  writeFileSync(join(OUTPUT, "plotly.min.js"), `${head.join("\n")}\n${code}`);
  const licenses = [...packagesOf(metafile).map(license), licensesOfStackgl()];
  writeFileSync(join(OUTPUT, "plotly.licenses.txt"), `Packages in plotly.min.js\n\n${licenses.join("\n")}`);
}

build().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
