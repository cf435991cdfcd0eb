"""The network alone: films a second by batch, attention and crop by themselves, and what others do, side by side.

Nothing here names a device but `run` and `run_gpu`: a figure of the GPU is made by the code that makes the CPU's.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from agcnn_bench.beside import beside_processes, beside_python
from agcnn_bench.clinics import Bench
from agcnn_bench.figures import Figure, Results, timed
from agcnn_bench.films import MAX_PIXELS, Form
from agcnn_bench.port import loop_read
from agcnn_clinic.analysis.infer import load_reader
from agcnn_clinic.analysis.normalise import read_picture
from agcnn_clinic.analysis.seen import network_film
from agcnn_clinic.bundles import configured_bundle
from agcnn_clinic.config import Config
from agcnn_clinic.domain import Picture
from agcnn_models import attention
from agcnn_models.agcnn import AGCNN, Diagnosis, build_agcnn
from agcnn_models.bundle import open_bundle
from agcnn_models.cores import usable_cores
from agcnn_models.gpu import kernels_on, why_no_kernels
from agcnn_models.precision import Precision, number_formats
from agcnn_models.preprocessing import to_model_input
from agcnn_models.replay import Replay
from agcnn_models.serving import serve
from agcnn_models.settings import Backbone, Preprocessing
from agcnn_models.shards import Shards

STARTER = "starter"
BATCHES = (1, 2, 4, 8, 16)
GPU_BATCHES = (1, 8, 32, 128)
COMPARED = 8
"""Films in a batch where AG-CNN is compared on the CPU: the clinic's own on two cores."""
PAPER = Preprocessing()
"""What both backbones see: 224 of 256 pixels."""
QUICK = Preprocessing(resize=128, crop=112)
GPU_BATCH = 256


@dataclass(frozen=True)
class Setting:
    """Where and how the networks run.

    Attributes:
        device: of weights and films.
        half: in bfloat16, of weights in the served form and by autocast in the others'; else float32.
        batch: films in a batch where things are compared.
        runs: how often a figure is taken.
    """

    device: torch.device
    half: bool
    batch: int
    runs: int

    @property
    def place(self) -> str:
        """What figures and ratios are called after: cpu or gpu."""
        return "gpu" if self.device.type == "cuda" else "cpu"

    def finish(self) -> None:
        """Wait for the device: a GPU answers before it is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def as_run(self, work: Callable[[], None]) -> Callable[[], None]:
        """Return what does `work` to its end as a reading does it: where kernels run, as a part of a CUDA graph."""
        if kernels_on(self.device) is None:
            run = work
        else:
            work()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                work()
            run = graph.replay

        def to_the_end() -> None:
            run()
            self.finish()

        return to_the_end

    @property
    def numbers(self) -> Precision:
        """What both branches compute in where they are compared with networks in the same numbers."""
        return Precision.BFLOAT16 if self.half else Precision.FLOAT32

    def precision(self) -> contextlib.AbstractContextManager[object]:
        """What forward passes of networks with float32 weights run under."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.half else contextlib.nullcontext()


@dataclass(frozen=True)
class Subject:
    """A network and the films that it is timed on: [N, 3, S, S], standardised.

    Attributes:
        model: in the form in which it is served.
        trained: as it was loaded, with the same weights; what the ports run.
        films: standardised.
    """

    model: AGCNN
    trained: AGCNN
    films: Tensor

    @cached_property
    def read(self) -> Callable[[Tensor], Diagnosis]:
        """As the clinic reads: on a GPU by replay."""
        return Replay(self.model).read

    def batch(self, count: int) -> Tensor:
        """So many films, over and over."""
        repeats = -(-count // len(self.films))
        return self.films.repeat(repeats, 1, 1, 1)[:count]


def run(bench: Bench) -> None:
    """The CPU's figures, with a thread a core as the clinic has by default."""
    torch.set_num_threads(usable_cores())
    bench.results.facts["network_threads"] = torch.get_num_threads()
    pictures = _pictures(bench)
    setting = Setting(torch.device("cpu"), half=False, batch=2 if bench.quick else COMPARED, runs=bench.runs)
    subjects = _subjects(bench, pictures, setting)
    for name, subject in subjects.items():
        by_batch(bench.results, name, subject, setting, (1, 2) if bench.quick else BATCHES)
        attention_alone(bench.results, name, subject, setting)
        beside_the_loop(bench.results, name, subject, setting)
    beside_one_densenet(bench.results, _as_the_clinic_would(bench, subjects[Backbone.DENSENET121]), setting)
    _as_served(bench, pictures, setting, most=0)
    starter = _as_the_clinic_would(bench, subjects[STARTER])
    beside_processes(bench.results, starter.model, starter.batch(setting.batch), setting.runs)
    beside_python(bench.results, starter.model, starter.batch(setting.batch), setting.runs)


def has_gpu() -> bool:
    """Whether torch can use one."""
    return torch.cuda.is_available()


def run_gpu(bench: Bench) -> None:
    """The GPU's figures: bfloat16, batches of 256, network and crop only.

    Raises:
        SystemExit: there is none; the sentence says so.
    """
    if not has_gpu():
        raise SystemExit("bench: there is no GPU that torch can use, so that no figure of one can be made here.")
    bench.results.facts["gpu"] = torch.cuda.get_device_name()
    setting = Setting(torch.device("cuda"), half=True, batch=GPU_BATCH, runs=bench.runs)
    bench.results.facts["gpu_kernels"] = why_no_kernels(setting.device) or "used"
    pictures = _pictures(bench)
    subjects = _subjects(bench, pictures, setting)
    for name, subject in subjects.items():
        by_batch(bench.results, name, subject, setting, GPU_BATCHES)
        attention_alone(bench.results, name, subject, setting)
        beside_the_loop(bench.results, name, subject, setting)
    beside_one_densenet(bench.results, subjects[Backbone.DENSENET121], setting)
    _as_served(bench, pictures, setting, most=GPU_BATCH)


def by_batch(results: Results, name: str, subject: Subject, setting: Setting, counts: Iterable[int]) -> None:
    """A film's time, by how many are read at once."""
    for count in counts:
        images = subject.batch(count)

        def read(images: Tensor = images) -> None:
            subject.read(images)
            setting.finish()

        read()  # what comes for the first time is not replayed
        results.add(f"network.{setting.place}.{name}.batch_{count}", timed(read, setting.runs, per=count))


def attention_alone(results: Results, name: str, subject: Subject, setting: Setting) -> None:
    """Eq. 3, Eq. 4 and the crop, without the branches; and the crop by itself."""
    model, images = subject.model, subject.batch(setting.batch)
    with torch.inference_mode():
        features = model.global_branch.feature_map(images)
        boxes = model.attend(images, features).boxes

    @torch.inference_mode()
    def attend() -> None:
        model.attend(images, features)

    @torch.inference_mode()
    def crop() -> None:
        attention.crop(images, boxes, images.shape[-1])

    for part, work in (("attention_and_crop", attend), ("crop", crop)):
        work = setting.as_run(work)  # noqa: PLW2901
        results.add(f"network.{setting.place}.{name}.{part}", timed(work, 4 * setting.runs, per=setting.batch))


def beside_the_loop(results: Results, name: str, subject: Subject, setting: Setting) -> None:
    """AG-CNN and the ports' loop on the same films, in turns; both must find the same boxes."""
    images = subject.batch(setting.batch)

    def batched() -> None:
        subject.read(images)
        setting.finish()

    def looped() -> None:
        with setting.precision():
            loop_read(subject.trained, images)
        setting.finish()

    figures = in_turns({"agcnn": batched, "loop_crop": looped}, setting.runs, per=setting.batch)
    for way, figure in figures.items():
        results.add(f"network.{setting.place}.{name}.{way}", figure)
    with setting.precision():
        probabilities, boxes = loop_read(subject.trained, images)
    ours = subject.read(images)
    results.facts[f"loop_crop_{setting.place}_{name}"] = {
        "films_with_the_same_box": int((boxes == ours.boxes.cpu()).all(dim=1).sum()),
        "films": len(images),
        "largest_difference": float((probabilities - ours.fusion_probabilities).abs().max()),
    }


def beside_one_densenet(results: Results, subject: Subject, setting: Setting) -> None:
    """AG-CNN in a batch, and one DenseNet-121 in float32, a film at a time, as torchxrayvision runs it; equally many.

    On the CPU the batch is shared among threads, as the clinic's is.
    """
    import torchxrayvision  # noqa: PLC0415 (it imports half of scientific Python)

    single = torchxrayvision.models.DenseNet(weights=None).eval().to(setting.device)
    images = subject.batch(setting.batch)
    grey = images[:1, :1].float() * 255  # its films are grey, in about [-1024, 1024]
    threads, shards = torch.get_num_threads(), Shards(usable_cores())

    def agcnn() -> None:
        if setting.place == "cpu":
            shards.read(subject.model.read, images)
        else:
            subject.read(images)
        setting.finish()

    def densenet() -> None:
        torch.set_num_threads(threads)
        for _ in range(setting.batch):
            _forward(single, grey)
            setting.finish()

    figures = in_turns({"agcnn_beside": agcnn, "one": densenet}, 3 * setting.runs, per=setting.batch)
    results.add(f"network.{setting.place}.densenet121.agcnn_beside", figures["agcnn_beside"])
    results.add(f"network.{setting.place}.one_fp32_densenet", figures["one"])


def in_turns(works: Mapping[str, Callable[[], object]], runs: int, *, per: float) -> dict[str, Figure]:
    """Time several things in turns, so that what else the machine does touches all of them."""
    wall: dict[str, list[float]] = {name: [] for name in works}
    cores: dict[str, list[float]] = {name: [] for name in works}
    for counted in (False, *(True,) * runs):
        for name, work in works.items():
            began, began_cores = time.perf_counter(), time.process_time()
            work()
            if counted:
                cores[name].append((time.process_time() - began_cores) / per)
                wall[name].append((time.perf_counter() - began) / per)
    return {name: Figure("s", tuple(wall[name]), tuple(cores[name])) for name in works}


@torch.inference_mode()
def _forward(network: nn.Module, images: Tensor) -> None:
    network(images)


def _pictures(bench: Bench) -> list[Picture]:
    paths = [bench.films.write(bench.scratch, number, Form.RAW) for number in (0, 6, 12)]
    return [read_picture(path, Form.RAW.media_type, MAX_PIXELS) for path in paths]


def _subjects(bench: Bench, pictures: list[Picture], setting: Setting) -> dict[str, Subject]:
    """Both backbones with random weights at the paper's 224 pixels, and the model that ships at its own size."""
    device, formats = setting.device, number_formats(setting.numbers, setting.device)
    preprocessing = QUICK if bench.quick else PAPER
    bench.results.facts["network_pixels"] = preprocessing.crop
    subjects: dict[str, Subject] = {}
    for backbone in Backbone:
        torch.manual_seed(0)
        model = build_agcnn(backbone).eval().to(device)
        subjects[backbone] = Subject(serve(model, formats), model, _inputs(pictures, preprocessing).to(device))
    bundle = open_bundle(configured_bundle(Config()))
    model = bundle.load_model(device)
    inputs = _inputs(pictures, bundle.manifest.preprocessing).to(device)
    subjects[STARTER] = Subject(serve(model, formats), model, inputs)
    return subjects


def _as_the_clinic_would(bench: Bench, subject: Subject) -> Subject:
    """The subject in the numbers that `analysis.precision` stands for by default on this device."""
    formats = number_formats(Precision.AUTO, subject.films.device)
    bench.results.facts[f"network.{subject.films.device.type}.precision"] = formats.precision.value
    return replace(subject, model=serve(subject.trained, formats))


def _inputs(pictures: list[Picture], preprocessing: Preprocessing) -> Tensor:
    return torch.stack([to_model_input(picture.pixels, preprocessing) for picture in pictures])


def _as_served(bench: Bench, pictures: list[Picture], setting: Setting, most: int) -> None:
    """What analysis pays for a film with the model that ships: from what a child sends to its reading, in a batch."""
    config = Config()
    analysis, shares, place = config.analysis, config.analysis.shares, setting.device.type
    reader = load_reader(
        configured_bundle(config), device=place, threads=shares.network_threads, precision=analysis.precision
    )
    seen = [network_film(picture, reader.manifest.preprocessing) for picture in pictures]
    counts = {"as_served": 2 if bench.quick else shares.batch}
    if most > shares.batch:
        counts[f"as_served_by_{most}"] = most
    for name, count in counts.items():
        batch = [seen[number % len(seen)] for number in range(count)]
        reader.read_films(batch)
        figure = timed(lambda batch=batch: reader.read_films(batch), bench.runs, per=count)  # type: ignore[misc]
        bench.results.add(f"network.{setting.place}.{name}", figure)
