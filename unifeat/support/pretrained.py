"""The one door through which transformers reads other people's folders: from disk alone, and nothing in them is run.

Without `trust_remote_code=False` it asks on the terminal, and runs a folder's Python files on "y". Attention is eager
because a config may name a kernel that would be fetched and run.
"""


def load(kind, folder, **more):
    """`kind.from_pretrained(folder, **more)`, with kind an Auto class of transformers or a tokenizer class."""
    if kind.__name__.startswith("Auto"):
        more["trust_remote_code"] = False
    return kind.from_pretrained(folder, local_files_only=True, **more)


def config(folder):
    """The configuration of the model in `folder`."""
    from transformers import AutoConfig

    found = load(AutoConfig, folder)
    found._attn_implementation = "eager"
    return found


def model(folder, **more):
    """The causal language model in `folder`, from safetensors."""
    from transformers import AutoModelForCausalLM

    return load(AutoModelForCausalLM, folder, config=config(folder), use_safetensors=True,
                attn_implementation="eager", **more)


def build(config):
    """The causal language model of a transformers config, its weights random."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_config(config, trust_remote_code=False, attn_implementation="eager")
