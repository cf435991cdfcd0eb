"""An archive with films and with what is none, and a cluster of two cores that reads it."""

import importlib.util

import pytest

from agcnn_clinic.analysis.normalise import PRELOAD
from agcnn_clinic.batch.cluster import Layout, Task, Workers, ray_cluster
from agcnn_clinic.batch.examine import Examiner
from agcnn_clinic.demo.phantom import draw
from agcnn_clinic.sandbox.pool import Sandbox
from agcnn_clinic.sections import Gate
from agcnn_models.manifest_file import read_manifest

FILMS = ("a.dcm", "b", "film.dcm", "sub/c.dcm", "sub/d.dcm")


@pytest.fixture(scope="session")
def archive(tmp_path_factory, write_film):
    """A folder of five films and three files that are none; a link leads out of it."""
    folder = tmp_path_factory.mktemp("archive") / "films"
    (folder / "sub").mkdir(parents=True)
    for seed, name in enumerate(FILMS):
        write_film(folder / name, draw(seed, (256, 256)).pixels, patient_name="Secret^Name", patient_id="SECRET-7")
    write_film(folder / "lateral.dcm", draw(9, (256, 256)).pixels, view="LL")
    (folder / "x-garbage.dcm").write_bytes(b"no film at all " * 100)
    (folder / "y-truncated.dcm").write_bytes((folder / "a.dcm").read_bytes()[:-5000])
    outside = folder.parent / "outside.dcm"
    write_film(outside, draw(10, (256, 256)).pixels)
    (folder / "link.dcm").symlink_to(outside)
    return folder


@pytest.fixture(scope="session")
def task(small_bundle):
    """The small model and the clinic's own limits."""
    return Task(
        bundle=small_bundle,
        preprocessing=read_manifest(small_bundle).preprocessing,
        gate=Gate(),
        max_file_bytes=10**9,
        decode_seconds=60,
        decode_memory_mb=4096,
    )


@pytest.fixture(scope="session")
def examiner(task):
    """A decoder in this process, with a child of its own."""
    with Sandbox(1, 60, 4096, preload=PRELOAD) as sandbox:
        yield Examiner(task.preprocessing, sandbox, task.gate, 10**6)


@pytest.fixture(scope="session")
def cluster():
    """A cluster of two cores for `workers`, and two more for a driver that is to be killed."""
    # Not imported here: what Ray is told lies in the environment before its import.
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed; it is an extra: pip install 'agcnn-clinic[ray]'")
    with ray_cluster(None, cpus=4) as found:
        yield found


@pytest.fixture(scope="session")
def workers(cluster, task):
    """Two decoders and a network of one thread."""
    assert cluster == (4, 0)
    workers = Workers(task, Layout(decoders=2, networks=1, threads=1, gpu=False, decoder_cpus=0.5, network_cpus=1.0))
    yield workers
    workers.close()
