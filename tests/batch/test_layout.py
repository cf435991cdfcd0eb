"""How a cluster is shared between decoders and networks."""

import pytest

from agcnn_clinic.batch.cluster import lay_out, store_bytes
from agcnn_models.settings import Preprocessing


@pytest.mark.parametrize("cpus", [1, 2, 3, 16, 64])
@pytest.mark.parametrize("gpus", [0, 1, 8])
@pytest.mark.parametrize("decoders", [0, 5])
def test_all_workers_fit_into_the_cluster(cpus, gpus, decoders):
    """Never more cores than there are, or a run would wait for ever; at least one of each kind."""
    layout = lay_out(cpus, gpus, decoders=decoders)
    taken = layout.decoders * layout.decoder_cpus + layout.networks * layout.network_cpus
    assert taken <= cpus
    assert min(layout.decoders, layout.networks) >= 1
    assert min(layout.decoder_cpus, layout.network_cpus) > 0
    assert layout.networks == (gpus or max(1, cpus // 2))


def test_the_store_holds_what_is_on_its_way():
    """Two cores, batches of 32: two chunks for each of two decoders and networks, twice over."""
    film = 224 * 224 * 4
    assert store_bytes(2, 32, Preprocessing()) > 2 * (2 * 2 + 2 * 2) * 32 * film
