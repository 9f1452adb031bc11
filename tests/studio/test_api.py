"""What the studio answers is what the library computes."""

import asyncio
import io
import json
import os
import shutil
from base64 import b64decode

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from studio.conftest import HOST, TOKEN
from vaekit import Run, cook, decode, encode, fit, open_data, read_image, reconstruct, start
from vaekit.code_priors import FullMixture
from vaekit.editing import compute_attributes
from vaekit.export.networks import computed, networks
from vaekit.known import condition_of
from vaekit.latent import path, sample
from vaekit.studio import Wish, application, bundle_of
from vaekit.studio.bundle import SEEDED
from vaekit.studio.shown import shown_of

RAW = {"content-type": "application/octet-stream"}
RUN = "/api/runs/shapes"


@pytest.fixture(scope="module")
def manifest(client) -> dict:
    return client.get(f"{RUN}/manifest").json()


def array(client, manifest, name: str) -> np.ndarray:
    about = manifest["arrays"][name]
    return np.frombuffer(client.get(f"{RUN}/arrays/{name}").content, about["type"]).reshape(about["shape"])


def as_bytes(pictures: np.ndarray) -> np.ndarray:
    return (pictures * 255).round().astype(np.uint8).transpose(0, 2, 3, 1)


def test_runs_are_listed_with_how_far_they_are(client, run):
    (about,) = client.get("/api/runs").json()
    assert about == client.get(RUN).json()
    assert (about["name"], about["status"], about["images"]) == ("shapes", "finished", run.reached["images"])
    assert about["path"] == str(run.path.resolve())
    assert about["image"] == [3, 16, 16]
    assert client.get("/api/runs/other").status_code == 404


def test_a_manifest_says_what_its_arrays_are(client, manifest, run):
    model, data = run.load_model(), run.open_data()
    assert (manifest["count"], manifest["latent"], manifest["labels"]) == (120, 4, ["circles", "squares"])
    known = run.load_attributes()[1]["attributes"]
    assert [(name, its["interval"]) for name, its in sorted(manifest["vectors"].items())] == [
        (name, its["interval"]) for name, its in sorted(known.items())
    ]
    assert client.get(RUN).json()["metrics"]["elbo"]["interval"] == run.metrics["elbo"]["interval"]
    rows, mu = array(client, manifest, "row"), encode(model, data.pixels)
    np.testing.assert_array_equal(array(client, manifest, "label"), data.labels[rows])
    steps, code = array(client, manifest, "mu"), manifest["code"]
    unpacked = np.array(code["low"]) + steps / 65535 * np.array(code["span"])
    np.testing.assert_allclose(unpacked, mu[rows], atol=np.ptp(mu) / 60_000)
    for name, place in (("train", 0), ("validation", 1), ("test", 2)):
        assert set(rows[array(client, manifest, "split") == place]) == set(data.splits[name])
    golden = as_bytes(decode(model, array(client, manifest, "golden_z")))
    np.testing.assert_array_equal(array(client, manifest, "golden"), golden)
    assert [its["worth"] for its in manifest["latents"]] == sorted((its["worth"] for its in manifest["latents"]), reverse=True)
    assert client.get(f"{RUN}/arrays/nothing").status_code == 404


def test_thumbnails_are_the_pictures(client, manifest, run):
    data, about = run.open_data(), manifest["thumbs"]
    atlas = np.asarray(Image.open(io.BytesIO(client.get(f"{RUN}/arrays/thumbs").content)).convert("RGB")).astype(float)
    rows = array(client, manifest, "row")
    for place in (0, 7, 119):
        top, left = (its * about["side"] for its in divmod(place, about["columns"]))
        thumb = atlas[top : top + about["side"], left : left + about["side"]]
        assert np.abs(thumb - data.pixels[rows[place]].transpose(1, 2, 0)).mean() < 12  # lossy


def test_thumbnails_of_many_points_are_of_all_kinds(run, monkeypatch):
    """Points are sorted by their place in the data, which is often that of their label."""
    monkeypatch.setattr("vaekit.studio.bundle.MOST_THUMBS", 50)
    data = run.open_data()
    made = bundle_of(run, run.load_model("cpu"), data)
    about = made.manifest["thumbs"]
    assert about["every"] == 3
    atlas = np.asarray(Image.open(io.BytesIO(made.blobs["thumbs"])).convert("RGB")).astype(float)
    for place in (0, 60, 117):
        top, left = (its * about["side"] for its in divmod(place // 3, about["columns"]))
        thumb = atlas[top : top + about["side"], left : left + about["side"]]
        assert np.abs(thumb - data.pixels[made.rows[place]].transpose(1, 2, 0)).mean() < 12


def test_pictures_are_decoded_as_the_library_does(client, run):
    z = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    expected = as_bytes(decode(run.load_model(), z))
    raw = client.post(f"{RUN}/decode", content=z.tobytes(), headers=RAW)
    assert raw.headers["x-shape"] == "3,16,16,3"
    np.testing.assert_array_equal(np.frombuffer(raw.content, np.uint8).reshape(expected.shape), expected)
    plain = client.post(f"{RUN}/decode?form=json", json={"z": z.tolist()}).json()
    assert plain["shape"] == [3, 16, 16, 3]
    np.testing.assert_array_equal(np.frombuffer(b64decode(plain["pixels"]), np.uint8), expected.ravel())
    png = Image.open(io.BytesIO(client.post(f"{RUN}/decode?form=png", json={"z": z.tolist()}).content))
    np.testing.assert_array_equal(np.asarray(png), expected.reshape(48, 16, 3))


def test_a_file_has_the_code_that_the_library_gives_it(client, run, place):
    file = place.parent / "pictures" / "circles" / "03.png"
    model = run.load_model()
    found = client.post(f"{RUN}/encode", content=file.read_bytes(), headers={"content-type": "image/png"}).json()
    mu, log_var = encode(model, read_image(file, model.image)[None], "distribution")
    np.testing.assert_allclose(found["mu"], mu[0], atol=1e-5)
    np.testing.assert_allclose(found["log_var"], log_var[0], atol=1e-5)


def test_pictures_of_the_map(client, manifest, run):
    data, model = run.open_data(), run.load_model()
    row = array(client, manifest, "row")[5]
    for kind, expected in (
        ("original", data.pixels[row].transpose(1, 2, 0)),
        ("reconstruction", as_bytes(decode(model, encode(model, data.pixels[[row]])))[0]),
    ):
        got = np.asarray(Image.open(io.BytesIO(client.get(f"{RUN}/pictures/5?kind={kind}").content)))
        np.testing.assert_allclose(got.astype(int), expected, atol=1)
    assert client.get(f"{RUN}/pictures/120").status_code == 404


def test_edits_morphs_and_neighbours(client, manifest, run):
    z = np.random.default_rng(1).standard_normal((2, 4)).astype(np.float32)
    vectors, about = run.load_attributes()
    moved = client.post(f"{RUN}/edit", json={"z": z.tolist(), "add": {"Dark": 2, "Big": -1}}).json()["z"]
    np.testing.assert_allclose(moved, z + 2 * vectors["Dark"].numpy() - vectors["Big"].numpy(), atol=1e-5)
    in_sigmas = client.post(f"{RUN}/edit", json={"z": z.tolist(), "add": {"Dark": 2}, "sigmas": True}).json()["z"]
    sigmas = about["attributes"]["Dark"]["sigmas"]
    np.testing.assert_allclose(in_sigmas, z + 2 / sigmas * vectors["Dark"].numpy(), atol=1e-5)
    way = client.post(f"{RUN}/morph", json={"z": z.tolist(), "steps": 7, "kind": "slerp"}).json()["z"]
    np.testing.assert_allclose(way, path(z[0], z[1], 7, "slerp"), atol=1e-6)
    (near, _) = client.post(f"{RUN}/neighbours", json={"z": z.tolist(), "k": 3}).json()["neighbours"]
    steps, code = array(client, manifest, "mu"), manifest["code"]
    mu = np.array(code["low"]) + steps / 65535 * np.array(code["span"])
    distances = np.linalg.norm(mu - z[0], axis=1)
    assert [its["place"] for its in near] == np.argsort(distances)[:3].tolist()
    assert [its["distance"] for its in near] == pytest.approx(np.sort(distances)[:3], abs=1e-3)


def test_new_codes_depend_on_the_seed_and_the_temperature(client):
    def drawn(**wish) -> np.ndarray:
        return np.array(client.post(f"{RUN}/sample", json={"n": 200, **wish}).json()["z"])

    np.testing.assert_array_equal(drawn(seed=3), drawn(seed=3))
    assert (drawn(seed=3) != drawn(seed=4)).any()
    assert drawn().std() == pytest.approx(1, abs=0.1)
    np.testing.assert_allclose(drawn(temperature=0.5), 0.5 * drawn(), atol=1e-6)
    assert client.post(f"{RUN}/sample", json={"prior": "flow"}).status_code == 422


def test_the_same_few_codes_by_the_weights_as_they_are_now(client, run):
    got = client.get(f"{RUN}/now?n=3&seed=5")
    assert got.headers["x-shape"] == "3,16,16,3"
    expected = as_bytes(sample(run.load_model(), 3, 5))
    np.testing.assert_array_equal(np.frombuffer(got.content, np.uint8).reshape(expected.shape), expected)
    best = min((record for record in run.records if record["split"] == "validation"), key=lambda record: record["loss"])
    assert int(got.headers["x-images"]) == best["images"]


def test_a_model_without_a_prior_draws_nothing(tmp_path, executor):
    data = open_data("digits")
    given = {"net": "mlp", "latent": 3, "images": 500, "threads": 1, "compile": "off", "precision": "fp32", "tune": False}
    run = start(tmp_path / "plain", data, cook("autoencoder", data.image, given))
    fit(run, data)
    app = application([run.path], executor=executor, token=TOKEN, hosts=frozenset({HOST}))
    with TestClient(app, base_url=f"http://{HOST}", headers={"authorization": f"Bearer {TOKEN}"}) as client:
        got = client.get("/api/runs/plain/now")
        assert (got.status_code, got.headers["x-shape"], got.content) == (200, "0,8,8,1", b"")


def test_categories_are_decoded_as_the_likeliest_ones_everywhere(tmp_path, executor):
    """The map, the pictures, a file, the golden pictures of an exported page: none shows a mixture that no code is."""
    data = open_data("digits")
    given = {"net": "mlp", "images": 3000, "threads": 1, "compile": "off", "precision": "fp32", "tune": False}
    run = start(tmp_path / "kinds", data, cook("categorical", data.image, given))
    fit(run, data)
    model, app = run.load_model(), application([run.path], executor=executor, token=TOKEN, hosts=frozenset({HOST}))
    expected = as_bytes(reconstruct(model, data.pixels[:40])).astype(int)
    assert np.abs(expected - as_bytes(decode(model, encode(model, data.pixels[:40])))).max() > 20, "it makes a difference"
    with TestClient(app, base_url=f"http://{HOST}", headers={"authorization": f"Bearer {TOKEN}"}) as client:
        told = client.get("/api/runs/kinds/manifest").json()
        low, span = (np.array(told["code"][key]) for key in ("low", "span"))
        steps = np.frombuffer(client.get("/api/runs/kinds/arrays/mu").content, "<u2").reshape(-1, model.latent)
        of_map = as_bytes(decode(model, low + steps[:40] / 65535 * span)).astype(int)
        got = np.asarray(Image.open(io.BytesIO(client.get("/api/runs/kinds/pictures/7?kind=reconstruction").content))).astype(int)
        file = io.BytesIO()
        Image.fromarray(data.pixels[7, 0]).save(file, "PNG")
        mu = client.post("/api/runs/kinds/encode", content=file.getvalue(), headers=RAW).json()["mu"]
    assert np.abs(of_map - expected).max() <= 1
    assert np.abs(got - expected[7]).max() <= 1
    assert np.abs(as_bytes(decode(model, np.float32(mu)[None])).astype(int) - expected[7]).max() <= 1
    codes_ = computed(networks(model)["encoder"], (data.pixels[:40] / 255).astype(np.float32))
    assert np.abs(as_bytes(decode(model, codes_)).astype(int) - expected).max() <= 1


def test_what_is_decoded_does_not_wait_for_draws_and_a_model_is_in_memory_once(place, executor):
    (its,) = shown_of([place], executor, Wish(points=20)).values()

    async def ask():
        await its.ready()
        with SEEDED:  # as long as somebody makes a bundle
            draws = asyncio.gather(its.sample(2, 0, 1.0, "own"), its.now(2, 0))
            await asyncio.sleep(0)  # they are asked for
            pictures = await asyncio.wait_for(its.decode(np.zeros((3, 4), np.float32)), 60)
            assert not draws.done()
        return pictures, await draws

    pictures, (z, (now, _)) = asyncio.run(ask())
    assert (len(pictures), len(z), len(now)) == (3, 2, 2)
    assert its.latest is None


def test_a_page_that_is_behind_is_told(client, manifest):
    z = np.zeros(4, "<f4").tobytes()
    for method, where in (("POST", "decode"), ("GET", "arrays/points"), ("GET", "pictures/0"), ("POST", "encode")):
        assert client.request(method, f"{RUN}/{where}?state={manifest['state']}", content=z, headers=RAW).status_code in (
            200,
            422,
        )
        got = client.request(method, f"{RUN}/{where}?state=old", content=z, headers=RAW)
        assert got.status_code == 409
        assert "Open it again" in got.json()["error"]
    z = [[0.0] * 4] * 2
    for where, body in (
        ("sample", {"n": 2}),
        ("edit", {"z": z, "add": {"Dark": 1}}),
        ("morph", {"z": z, "steps": 3}),
        ("neighbours", {"z": z}),
        ("film", {"z": z}),
    ):
        assert client.post(f"{RUN}/{where}?state={manifest['state']}", json=body).status_code == 200
        assert client.post(f"{RUN}/{where}?state=old", json=body).status_code == 409


COPY = "/api/runs/copy"


@pytest.fixture
def copied(tmp_path, place, executor, monkeypatch):
    """A run that a test may change, and somebody who asks a studio of it."""
    monkeypatch.setenv("VAEKIT_CACHE", str(tmp_path / "cache"))
    shutil.copytree(place, tmp_path / "copy")
    app = application([tmp_path / "copy"], executor=executor, token=TOKEN, hosts=frozenset({HOST}), wish=Wish(points=50))
    with TestClient(app, base_url=f"http://{HOST}", headers={"authorization": f"Bearer {TOKEN}"}) as client:
        yield Run.open(tmp_path / "copy"), client


def test_what_was_measured_and_computed_since_is_seen_when_it_is_opened_again_and_codes_stay_valid(copied, monkeypatch):
    run, client = copied
    before = client.get(f"{COPY}/manifest").json()
    run.add_metrics({"fame": {"value": 1.0, "unit": "", "how": "a test"}})
    compute_attributes(run, run.open_data(), method="ridge")
    status = client.get(COPY).json()
    assert status["metrics"]["fame"]["value"] == 1
    assert status["state"] == before["state"]
    assert status["parts"] != before["parts"]
    monkeypatch.setattr("vaekit.studio.shown.bundle_of", None)  # nothing is encoded anew
    after = client.get(f"{COPY}/manifest").json()
    assert (after["state"], after["parts"]) == (status["state"], status["parts"])
    assert after["vectors"]["Dark"]["method"] == "ridge"
    same = after.keys() - {"parts", "vectors", "notes", "priors"}
    assert {key: after[key] for key in same} == {key: before[key] for key in same}
    z = np.zeros(4, "<f4").tobytes()
    assert client.post(f"{COPY}/decode?state={before['state']}", content=z, headers=RAW).status_code == 200


def test_codes_of_other_weights_are_refused_once_somebody_has_opened_these(copied):
    run, client = copied
    before, z = client.get(f"{COPY}/manifest").json(), np.zeros(4, "<f4").tobytes()
    weights = run.path / "weights.safetensors"
    os.utime(weights, ns=(0, weights.stat().st_mtime_ns + 1))
    assert client.post(f"{COPY}/decode?state={before['state']}", content=z, headers=RAW).status_code == 200, "nobody opened it"
    after = client.get(f"{COPY}/manifest").json()
    assert after["state"] != before["state"]
    assert after["parts"] == before["parts"]
    assert client.post(f"{COPY}/decode?state={before['state']}", content=z, headers=RAW).status_code == 409
    assert client.post(f"{COPY}/decode?state={after['state']}", content=z, headers=RAW).status_code == 200


def test_a_density_is_read_once_for_all_steps_of_a_slider(copied, monkeypatch):
    run, client = copied
    density, load, read = FullMixture(latent=4, components=1), Run.load_prior, []

    def counted(its, name=None):
        read.append(name)
        return load(its, name)

    monkeypatch.setattr(Run, "load_prior", counted)

    def drawn(temperature: float, prior: str = "gaussian") -> np.ndarray:
        answer = client.post(f"{COPY}/sample", json={"n": 3, "prior": prior, "temperature": temperature})
        return np.array(answer.json()["z"])

    run.save_priors({"gaussian": density}, {"gaussian": {"nats": 1.0}})
    assert client.get(f"{COPY}/manifest").json()["priors"] == ["gaussian"]
    once = drawn(1.0)
    np.testing.assert_allclose(drawn(0.5), 0.5 * once, atol=1e-6)  # its mean is 0
    assert read == ["gaussian"]
    np.testing.assert_array_equal(drawn(1.0, "fitted"), once)
    assert read == ["gaussian", None]
    density.means.fill_(7.0)
    run.save_priors({"gaussian": density}, {"gaussian": {"nats": 1.0}})
    about = run.path / "priors" / "priors.json"
    os.utime(about, ns=(0, about.stat().st_mtime_ns + 1))  # both may have been written in one moment
    np.testing.assert_allclose(drawn(1.0, "fitted"), once + 7, atol=1e-5)


def test_a_page_that_is_opened_late_sees_the_same_codes_by_all_weights_that_were_seen(copied):
    run, client = copied
    none = client.get(f"{COPY}/earlier")
    assert (none.headers["x-shape"], none.headers["x-images"], none.content) == ("0,0,0,0,0", "", b"")
    model, seen = run.load_model("cpu"), []
    for images in (100, 200, 300):
        for weight in model.parameters():
            weight.mul_(0.9)
        run.save_weights(model, images=images)
        os.utime(run.path / "weights.safetensors", ns=(0, images))  # all may have been written in one moment
        seen.append(client.get(f"{COPY}/now").content)
        assert client.get(f"{COPY}/now").content == seen[-1], "a page that is loaded again"
        client.get(f"{COPY}/now?seed=7")  # other codes, which stand in no column
    got = client.get(f"{COPY}/earlier")
    assert (got.headers["x-shape"], got.headers["x-images"]) == ("3,4,16,16,3", "100,200,300")
    assert got.content == b"".join(seen)
    assert len(set(seen)) == 3


def test_a_film_has_a_frame_for_every_code(client):
    z = np.linspace(-1, 1, 6)[:, None].repeat(4, 1).tolist()
    for kind in ("gif", "webp"):
        film = Image.open(io.BytesIO(client.post(f"{RUN}/film", json={"z": z, "kind": kind}).content))
        assert (film.format, film.n_frames) == (kind.upper(), 6)


def test_the_log_is_read_from_where_it_was_left(client, run):
    records = run.records
    first = client.get(f"{RUN}/log").json()
    assert first["records"] == records
    assert (first["from"], first["at"]) == (0, (run.path / "log.jsonl").stat().st_size)
    later = client.get(f"{RUN}/log?after={first['at']}").json()
    assert later == {"records": [], "from": first["at"], "at": first["at"]}
    for cut in (first["at"] + 10, 1, first["at"] - 3):
        assert client.get(f"{RUN}/log?after={cut}").json() == first, "a byte that begins no line of this log"


def test_a_bundle_has_all_pictures_or_a_fair_choice(run):
    data = run.open_data()
    few = bundle_of(run, run.load_model(), data, most=30)
    assert few.manifest["count"] == len(set(few.rows)) == 30
    split = np.frombuffer(few.blobs["split"], np.uint8)
    assert set(split) == {0, 1, 2}
    assert json.loads(json.dumps(few.manifest, allow_nan=False)) == few.manifest
    np.testing.assert_allclose(few.mu, encode(run.load_model(), data.pixels[few.rows]), atol=1e-5)


def test_a_map_has_no_more_pictures_than_it_can_have_codes_of(run, monkeypatch):
    monkeypatch.setattr("vaekit.studio.bundle.MOST_NUMBERS", 62)
    made = bundle_of(run, run.load_model("cpu"), run.open_data(), most=50)
    assert made.manifest["count"] == len(made.mu) == 62 // 4
    assert made.manifest["arrays"]["mu"]["shape"] == [15, 4]


def test_a_conditional_model_is_told_what_to_draw(tmp_path, executor):
    data = open_data("digits")
    given = {"net": "mlp", "latent": 3, "images": 2000, "threads": 1, "compile": "off", "precision": "fp32", "tune": False}
    run = start(tmp_path / "told", data, cook("vae", data.image, given | {"condition": condition_of(data)}))
    fit(run, data)
    app = application([run.path], executor=executor, token=TOKEN, hosts=frozenset({HOST}), wish=Wish(points=200))
    with TestClient(app, base_url=f"http://{HOST}", headers={"authorization": f"Bearer {TOKEN}"}) as client:
        at = "/api/runs/told"
        assert client.get(f"{at}/manifest").json()["condition"]["labels"] == list(data.label_names)
        z = client.post(f"{at}/sample", json={"n": 5, "seed": 3, "given": ["label=7"]}).json()["z"]
        drawn = client.post(f"{at}/decode?given=label%3D7", json={"z": z})
        model = run.load_model()
        c = model.condition.of({"label": "7"}).numpy()[None].repeat(5, 0)
        expected = as_bytes(sample(model, 5, 3, c=c))
        np.testing.assert_array_equal(np.frombuffer(drawn.content, np.uint8).reshape(expected.shape), expected)
        assert client.post(f"{at}/decode?given=label%3D8", json={"z": z}).content != drawn.content
        assert "No label is named" in client.post(f"{at}/decode?given=label%3Dx", json={"z": z}).json()["error"]


def test_any_other_model_is_told_nothing(client):
    got = client.post(f"{RUN}/decode?given=label%3D7", json={"z": [[0, 0, 0, 0]]})
    assert got.status_code == 422
    assert "told nothing" in got.json()["error"]
