"""What the graph of an update becomes before it is compiled.

This is for the compiler, which takes a second to import; so is this file.
"""

from __future__ import annotations

import torch
from torch import fx
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files

from slm_lightning.nets import linear
from slm_lightning.updates import narrow, onednn, scalars
from slm_lightning.updates.narrow import insert_sums, is_narrow
from slm_lightning.updates.onednn import pays, product
from slm_lightning.updates.scalars import compute_once

aten = torch.ops.aten


class Passes(CustomGraphPass):
    """Keeps scalars out of loops, writes narrow products as sums, and hands those to oneDNN that it
    pays for."""

    def __call__(self, graph: fx.Graph) -> None:
        compute_once(graph)
        for target in (aten.mm.default, aten.addmm.default):
            for node in graph.find_nodes(op="call_function", target=target):
                *bias, a, b = node.args
                if node.kwargs:
                    continue
                with graph.inserting_before(node):
                    if is_narrow(a, b):
                        node.replace_all_uses_with(insert_sums(graph, a, b, *bias))
                    elif pays(a, b, *bias):
                        node.replace_all_uses_with(product(graph, a, b, *bias))
                    else:
                        continue
                graph.erase_node(node)

    def uuid(self) -> tuple[bytes, bool]:
        """What kept graphs are known by."""
        files = __file__, linear.__file__, narrow.__file__, onednn.__file__, scalars.__file__
        return get_hash_for_files(files), linear.ahead()
