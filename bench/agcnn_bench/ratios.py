"""The figures that goals are set for: one measurement over another, from the same run."""

from agcnn_bench.figures import Results
from agcnn_bench.films import Form
from agcnn_models.settings import Backbone

_SERVED = "starter"
"""The model whose comparison with the ports' loop, and whose share of attention and crop, stand for all."""


def derive(results: Results) -> None:
    """Add every ratio whose figures were measured."""
    ratios, figures = results.ratios, results.figures
    if (parts := parts_of_a_study(results)) and "whole.watch.rate" in figures:
        results.facts["core_seconds_of_a_study"] = {name: round(seconds, 5) for name, seconds in parts.items()}
        cores = int(results.facts["whole.cores"])
        ratios["efficiency"] = figures["whole.watch.rate"].median * sum(parts.values()) / cores
        if "whole.process.rate" in figures:
            ratios["efficiency_process"] = figures["whole.process.rate"].median * sum(parts.values()) / cores
    for place in ("cpu", "gpu"):
        _of_network(results, place)
    for backbone in Backbone:
        if figure := figures.get(f"network.gpu.{backbone}.agcnn"):
            ratios[f"films_per_second_gpu_{backbone}"] = 1 / figure.median


def parts_of_a_study(results: Results) -> dict[str, float]:
    """Core-seconds of each part, once, over the mix of forms; empty unless all were measured.

    Only what no way of working could leave out: the file is decoded once; intake's copying and the print of the
    attended region are not counted. So everything else that the clinic does (a second decoding for the report, too)
    lowers the efficiency.
    """
    needed = [f"develop.{form}" for form in Form]
    figures = results.figures
    if not {*needed, "network.cpu.as_served", "record", "report.whole"} <= figures.keys():
        return {}
    return {
        "decode_and_develop": sum(figures[name].median_core_seconds for name in needed) / len(needed),
        "network": figures["network.cpu.as_served"].median_core_seconds,
        "record": figures["record"].median_core_seconds,
        "report": figures["report.whole"].median_core_seconds,
    }


def _of_network(results: Results, place: str) -> None:
    ratios, figures = results.ratios, results.figures
    start = f"network.{place}"
    agcnn, loop = figures.get(f"{start}.{_SERVED}.agcnn"), figures.get(f"{start}.{_SERVED}.loop_crop")
    if agcnn and loop:
        ratios[f"batch_over_loop_crop_{place}"] = loop.median / agcnn.median
        attention = figures[f"{start}.{_SERVED}.attention_and_crop"]
        ratios[f"attention_crop_share_{place}"] = attention.median / agcnn.median
    beside, single = figures.get(f"{start}.densenet121.agcnn_beside"), figures.get(f"{start}.one_fp32_densenet")
    if beside and single:
        name = "agcnn_over_one_fp32_densenet" + ("_gpu" if place == "gpu" else "")
        ratios[name] = single.median / beside.median
