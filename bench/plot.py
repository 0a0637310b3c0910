"""docs/benchmarks.svg: the floor beside bootstrap, split into its stages."""

from pathlib import Path
from statistics import median

from bench.model import TIMES, Results

STAGES = (
    ("look and check", "#c7d3dd", ("Look at the machines", "Check the machines", "Get the binaries")),
    ("node, binaries, PKI", "#8fb3cf", ("claim", "node", "artifacts", "pki")),
    ("balancers", "#5e8fb5", ("load_balancer",)),
    ("etcd", "#e0a458", ("etcd",)),
    ("API server", "#c8553d", ("kube_apiserver",)),
    ("controllers", "#9b7ea8", ("kube_controller_manager", "kube_scheduler")),
)


def plot(results: Results, path: Path) -> None:
    """Write the picture."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "cpkit", "font.family": "sans-serif", "font.size": 9}
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7.5, 0.9 + 0.95 * len(results.sizes)), layout="constrained")
    labels = []
    for row, nodes in enumerate(results.sizes):
        rounds = results.of(nodes)
        floor = median(one.floor.seconds for one in rounds)
        total = median(one.bootstrap.seconds for one in rounds)
        axes.barh(2.4 * row, floor, color="#4a7c59", label="floor" if row == 0 else None)
        axes.text(floor + 0.4, 2.4 * row, f"{floor:.1f} s", va="center")
        left = 0.0
        parts = [{**one.bootstrap.steps, **one.bootstrap.roles} for one in rounds]
        for name, colour, keys in STAGES:
            width = median(sum(part.get(key, 0.0) for key in keys) for part in parts)
            axes.barh(2.4 * row + 1, width, left=left, color=colour, label=name if row == 0 else None)
            left += width
        rest = max(0.0, total - left)
        axes.barh(2.4 * row + 1, rest, left=left, color="#dddddd", label="start, verify, end" if row == 0 else None)
        axes.text(max(total, left) + 0.4, 2.4 * row + 1, f"{total:.1f} s, {total / floor:.2f}{TIMES}", va="center")
        labels += [(2.4 * row, f"{nodes} nodes, floor"), (2.4 * row + 1, f"{nodes} nodes, bootstrap")]
    axes.set_yticks([place for place, _ in labels], [text for _, text in labels])
    axes.invert_yaxis()
    axes.set_xlabel("seconds, medians")
    axes.margins(x=0.18)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, metadata={"Date": None})
