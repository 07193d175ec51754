"""The landscape of a network on graphs, each of a size of its own: batches by one's own function.

    python examples/graphs.py

A DataLoader brings its collate function along; jobs name a `lossgrid.data.Collated`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import lossgrid

Graph = tuple[Tensor, Tensor, int]
"""Numbers of the nodes, shape (nodes, 4); edges, shape (2, edges); the class."""


class GraphNetwork(nn.Module):
    """Two rounds of messages between neighbours, and the mean over each graph's nodes."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(4, 16)
        self.pass_on = nn.Linear(16, 16)
        self.leave = nn.Linear(16, 2)

    def forward(self, nodes: Tensor, edges: Tensor, graph: Tensor, graphs: Tensor) -> Tensor:
        """Logits, shape (graphs, 2); `graph` is which one a node is of, `graphs` their sizes."""
        state = self.enter(nodes)
        for _ in range(2):
            heard = torch.zeros_like(state).index_add(0, edges[1], self.pass_on(state)[edges[0]])
            state = torch.relu(state + heard)
        total = state.new_zeros(len(graphs), state.shape[1]).index_add(0, graph, state)
        return self.leave(total / graphs[:, None])


def collate(graphs: list[Graph]) -> tuple[dict[str, Tensor], Tensor]:
    """One large graph of several, whose nodes are counted through."""
    sizes = torch.tensor([len(nodes) for nodes, _, _ in graphs])
    begins = (sizes.cumsum(0) - sizes).tolist()
    inputs = {
        "nodes": torch.cat([nodes for nodes, _, _ in graphs]),
        "edges": torch.cat([e + b for (_, e, _), b in zip(graphs, begins, strict=True)], dim=1),
        "graph": torch.repeat_interleave(torch.arange(len(graphs)), sizes),
        "graphs": sizes,
    }
    return inputs, torch.tensor([label for _, _, label in graphs])


def drawn(count: int) -> list[Graph]:
    """Rings and stars of 4 to 12 nodes."""
    found = []
    for number in range(count):
        size = int(torch.randint(4, 13, ()))
        nodes, label = torch.arange(size), number % 2
        ends = torch.stack([nodes, (nodes + 1) % size if label else 0 * nodes])
        found.append((torch.randn(size, 4), torch.cat([ends, ends.flip(0)], dim=1), label))
    return found


def trained() -> tuple[nn.Module, DataLoader[Graph]]:
    """A network after a few seconds of training, with its data."""
    torch.manual_seed(0)
    loader: DataLoader[Graph] = DataLoader(
        drawn(300),  # type: ignore[arg-type]
        batch_size=30,
        collate_fn=collate,
    )
    model = GraphNetwork()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(30):
        for inputs, targets in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(**inputs), targets).backward()
            optimizer.step()
    return model, loader


if __name__ == "__main__":
    model, loader = trained()
    surface = lossgrid.landscape(model, loader, points=21)
    print(surface)
    surface.save("out/graphs.png")
    print("figure: out/graphs.png")
