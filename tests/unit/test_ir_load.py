"""Reading models: sources, external data, names, order; the message names the place and the cure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.helper as h
import onnx.parser
import pytest

from graphrewrite import ir
from graphrewrite.errors import InvalidModel

TEXT = """
<ir_version: 10, opset_import: ["" : 20]>
g (float[2] x) => (float[2] y) <float[2] w = {1.0, 2.0}> { a = Mul (x, w)  y = Relu (a) }
"""


def model(text: str = TEXT) -> onnx.ModelProto:
    return onnx.parser.parse_model(text)


def external(folder: Path, location: str = "w.bin", *, offset: int = 0, length: int | None = None) -> Path:
    """A model in `folder` whose weight lies in `location`."""
    proto = model()
    tensor = proto.graph.initializer[0]
    tensor.CopyFrom(onnx.TensorProto(name="w", data_type=1, dims=[2], data_location=1))
    entries = {"location": location, "offset": offset, "length": 8 if length is None else length}
    for key, content in entries.items():
        tensor.external_data.add(key=key, value=str(content))
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


WEIGHTS = np.array([3, 4], np.float32)


class TestSources:
    def test_path_bytes_and_proto_are_the_same_model(self, tmp_path: Path) -> None:
        path = tmp_path / "m.onnx"
        path.write_bytes(model().SerializeToString())
        lines = [
            list(ir.graph_lines(ir.load(s).graph)) for s in (path, str(path), path.read_bytes(), model())
        ]
        assert all(item == lines[0] for item in lines)

    def test_a_proto_is_not_changed(self) -> None:
        proto = model()
        before = proto.SerializeToString()
        loaded = ir.load(proto)
        loaded.graph.outputs[0].name = "other"
        assert proto.SerializeToString() == before

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidModel, match="can't be read: No such file"):
            ir.load(tmp_path / "none.onnx")

    def test_a_folder_is_no_model(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidModel, match="can't be read: Is a directory"):
            ir.load(tmp_path)

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"", "is empty"),
            (b"PK\x03\x04 zip file", "is not an ONNX model"),
            (b"\x08\x0a", "holds no graph"),
        ],
    )
    def test_other_bytes(self, data: bytes, reason: str) -> None:
        with pytest.raises(InvalidModel, match=reason):
            ir.load(data)

    def test_no_outputs_and_no_opset(self) -> None:
        proto = model()
        del proto.opset_import[:]
        with pytest.raises(InvalidModel, match="opset_import is empty"):
            ir.load(proto)
        proto = model()
        del proto.graph.output[:]
        with pytest.raises(InvalidModel, match="no outputs"):
            ir.load(proto)


class TestExternalData:
    def test_is_mapped_not_copied(self, tmp_path: Path) -> None:
        (tmp_path / "w.bin").write_bytes(WEIGHTS.tobytes())
        array = ir.constant_array(ir.load(external(tmp_path)).graph.initializers["w"])
        assert array is not None
        np.testing.assert_array_equal(array, WEIGHTS)
        assert not array.flags.owndata
        assert not array.flags.writeable

    def test_bytes_with_base_dir(self, tmp_path: Path) -> None:
        (tmp_path / "w.bin").write_bytes(WEIGHTS.tobytes())
        data = external(tmp_path).read_bytes()
        array = ir.constant_array(ir.load(data, base_dir=tmp_path).graph.initializers["w"])
        np.testing.assert_array_equal(array, WEIGHTS)
        with pytest.raises(InvalidModel, match="given as bytes: give its path, or base_dir"):
            ir.load(data)

    def test_in_a_folder_below(self, tmp_path: Path) -> None:
        (tmp_path / "weights").mkdir()
        (tmp_path / "weights" / "w.bin").write_bytes(b"\0" * 4 + WEIGHTS.tobytes())
        loaded = ir.load(external(tmp_path, "weights/w.bin", offset=4))
        np.testing.assert_array_equal(ir.constant_array(loaded.graph.initializers["w"]), WEIGHTS)

    @pytest.mark.parametrize("kind", ["absolute", "parent", "dots", "symlink"])
    def test_outside_the_folder_is_never_read(self, tmp_path: Path, kind: str) -> None:
        folder = tmp_path / "model"
        folder.mkdir()
        outside = tmp_path / "secret.bin"
        outside.write_bytes(WEIGHTS.tobytes())
        location = {"absolute": str(outside), "parent": "../secret.bin", "dots": "a/../../secret.bin"}.get(
            kind
        )
        if location is None:
            (folder / "w.bin").symlink_to(outside)
            location = "w.bin"
        with pytest.raises(
            InvalidModel, match="tensor 'w' points to external data outside the model's folder"
        ):
            ir.load(external(folder, location))

    @pytest.mark.parametrize("location", ["w.bin", "../secret.bin"])
    def test_of_a_constant_node(self, tmp_path: Path, location: str) -> None:
        folder = tmp_path / "model"
        folder.mkdir()
        for path in (folder / "w.bin", tmp_path / "secret.bin"):
            path.write_bytes(WEIGHTS.tobytes())
        path = external(folder, location)
        proto = onnx.load(path, load_external_data=False)
        proto.graph.node.insert(0, h.make_node("Constant", [], ["w"], value=proto.graph.initializer.pop()))
        path.write_bytes(proto.SerializeToString())
        if location == "w.bin":
            (node, *_) = ir.load(path).graph
            np.testing.assert_array_equal(node.attributes["value"].as_tensor().numpy(), WEIGHTS)
        else:
            with pytest.raises(InvalidModel, match="tensor 'w' points to external data outside"):
                ir.load(path)

    def test_a_model_reached_through_a_symlink_finds_its_data(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "real" / "w.bin").write_bytes(WEIGHTS.tobytes())
        link = tmp_path / "link.onnx"
        link.symlink_to(external(tmp_path / "real"))
        np.testing.assert_array_equal(ir.constant_array(ir.load(link).graph.initializers["w"]), WEIGHTS)

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidModel, match=r"needs the external data file 'w.bin', which is missing"):
            ir.load(external(tmp_path))

    def test_truncated(self, tmp_path: Path) -> None:
        (tmp_path / "w.bin").write_bytes(WEIGHTS.tobytes()[:-1])
        with pytest.raises(InvalidModel, match=r"needs bytes up to 8 of 'w.bin', which has 7"):
            ir.load(external(tmp_path))

    def test_too_short_for_its_shape(self, tmp_path: Path) -> None:
        (tmp_path / "w.bin").write_bytes(WEIGHTS.tobytes())
        with pytest.raises(InvalidModel, match="needs 8 bytes and its external data has 4"):
            ir.load(external(tmp_path, length=4))


def graph_of(*nodes: onnx.NodeProto, inputs: tuple[str, ...] = ("x",), outputs: tuple[str, ...] = ("y",)):
    def value(name: str) -> onnx.ValueInfoProto:
        return h.make_tensor_value_info(name, 1, [2])

    graph = h.make_graph(list(nodes), "g", [value(n) for n in inputs], [value(n) for n in outputs])
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 20)], ir_version=10)


class TestNames:
    def test_two_nodes_write_one_value(self) -> None:
        proto = graph_of(
            h.make_node("Relu", ["x"], ["y"], name="p"), h.make_node("Neg", ["x"], ["y"], name="q")
        )
        with pytest.raises(InvalidModel, match="Neg 'q' writes 'y', which Relu 'p' defines already"):
            ir.load(proto)

    def test_a_node_writes_an_input(self) -> None:
        proto = graph_of(h.make_node("Relu", ["x"], ["x"]), h.make_node("Neg", ["x"], ["y"]))
        with pytest.raises(InvalidModel, match="writes 'x', which an input defines already"):
            ir.load(proto)

    def test_two_inputs_of_one_name(self) -> None:
        proto = graph_of(h.make_node("Relu", ["x"], ["y"]), inputs=("x", "x"))
        with pytest.raises(InvalidModel, match="'x'"):
            ir.load(proto)

    def test_undefined_value(self) -> None:
        with pytest.raises(InvalidModel, match="Add 'y' reads 'lost', which nothing defines"):
            ir.load(graph_of(h.make_node("Add", ["x", "lost"], ["y"])))

    def test_undefined_value_in_a_subgraph(self) -> None:
        body = h.make_graph(
            [h.make_node("Neg", ["lost"], ["b"])], "b", [], [h.make_empty_tensor_value_info("b")]
        )
        proto = graph_of(
            h.make_node("Cast", ["x"], ["c"], to=9),
            h.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body),
        )
        with pytest.raises(InvalidModel, match="reads 'lost', which nothing defines"):
            ir.load(proto)

    def test_a_body_that_gives_out_what_lies_outside(self) -> None:
        """ONNX Runtime refuses it, too."""
        proto = onnx.parser.parse_model(
            """<ir_version: 10, opset_import: ["" : 20]> g (bool c, float[2] x) => (float[2] y) {
                y = If (c) <then_branch = t () => (float[2] x) { }, else_branch = e () => (float[2] z) { z = Neg (x) }>
            }"""
        )
        with pytest.raises(
            InvalidModel, match="a body gives 'x' out, which lies outside of it: put an Identity"
        ):
            ir.load(proto)

    def test_unwritten_output(self) -> None:
        with pytest.raises(InvalidModel, match="the output 'z' is written by no node"):
            ir.load(graph_of(h.make_node("Relu", ["x"], ["y"]), outputs=("y", "z")))

    def test_cycle(self) -> None:
        proto = graph_of(
            h.make_node("Add", ["x", "b"], ["a"], name="first"),
            h.make_node("Relu", ["a"], ["b"], name="second"),
            h.make_node("Neg", ["b"], ["y"], name="after"),
        )
        with pytest.raises(InvalidModel, match="cycle through 'first', 'second': "):
            ir.load(proto)

    def test_unsorted_nodes_are_sorted(self) -> None:
        loaded = ir.load(graph_of(h.make_node("Neg", ["a"], ["y"]), h.make_node("Relu", ["x"], ["a"])))
        assert [node.op_type for node in loaded.graph] == ["Relu", "Neg"]

    def test_nodes_without_a_name_or_of_the_same_name(self) -> None:
        loaded = ir.load(
            graph_of(
                h.make_node("Relu", ["x"], ["a"]),
                h.make_node("Neg", ["a"], ["b"], name="n"),
                h.make_node("Abs", ["b"], ["y"], name="n"),
            )
        )
        assert [node.name for node in loaded.graph] == ["a", "n", "n_1"]
        assert [ir.origin(node) for node in loaded.graph] == [("a",), ("n",), ("n_1",)]


class TestSave:
    def test_what_is_saved_is_what_is_read(self, tmp_path: Path) -> None:
        first = ir.load(model())
        ir.save(first, tmp_path / "m.onnx")
        again = ir.load(tmp_path / "m.onnx")
        assert list(ir.graph_lines(first.graph)) == list(ir.graph_lines(again.graph))

    def test_saving_twice_gives_the_same_bytes(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            ir.save(ir.load(model()), tmp_path / name)
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
