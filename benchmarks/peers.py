"""The peers' SAE trainers on given activations. Runs inside a peer's own environment and imports nothing of ours.

    python -P peers.py saelens|dictionary_learning|sparsify job.json

Every peer draws the same batches, and leaves weights in one convention (z = W_enc (x - b_dec) + b_enc, top k, ReLU,
x_hat = W_dec^T f + b_dec) and the seconds of each step. Their own loops are used where they take activations.
"""

import contextlib
import json
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file


class Batches:
    """The batches (batch, d) of a job one after the other; `stamps` keeps when each was asked for."""

    def __init__(self, job: dict):
        self.x = np.load(job["activations"], mmap_mode="r").reshape(-1, job["d"])
        self.order = np.random.default_rng(0)
        self.batch, self.steps, self.device = job["batch"], job["steps"], job["device"]
        self.stamps = []

    def draw(self):
        """`steps` batches, rows in a new random order at every pass over the activations; then one more, unused."""
        left = np.empty(0, int)
        for _ in range(self.steps + 1):
            self.wait()
            self.stamps.append(time.perf_counter())
            if len(left) < self.batch:
                left = self.order.permutation(len(self.x))
            rows, left = np.sort(left[:self.batch]), left[self.batch:]
            yield torch.from_numpy(self.x[rows]).to(self.device)

    def wait(self):
        if self.device == "cuda":
            torch.cuda.synchronize()

    def sample(self) -> torch.Tensor:
        """About 8,192 rows spread over the activations, for scales and centres."""
        return torch.from_numpy(np.array(self.x[:: max(1, len(self.x) // 8192)])).to(self.device)

    def taken(self) -> list[float]:
        """Seconds of each step, the fetching of its batch included."""
        return np.diff(self.stamps).tolist()


def saelens(job: dict, data: Batches) -> dict:
    """SAELens's SAETrainer.fit; tuned: our rate and schedule, fused Adam, scaled input, autocast."""
    from sae_lens import SAETrainer, TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.config import SAETrainerConfig

    tuned, given = job["tuned"], dict(lr_end=3e-5)  # a tenth of its rate, as its runner fills in; unused when constant
    if tuned:
        given |= dict(lr=job["lr"], adam_beta2=job["beta2"], lr_warm_up_steps=job["warmup"],
                      lr_decay_steps=round(job["decay"] * job["steps"]))
    config = TopKTrainingSAEConfig(d_in=job["d"], d_sae=job["width"], k=job["k"], device=job["device"])
    model = TopKTrainingSAE(config)
    if tuned:  # what its `expected_average_only_in` would estimate, and the centre that all of us start from
        scale, center = _scale(data)
        model.b_dec.data = center * scale
    trainer = SAETrainer(
        SAETrainerConfig(total_training_samples=job["batch"] * job["steps"], train_batch_size_samples=job["batch"],
                         device=job["device"], autocast=job.get("autocast", False), **given), model, data.draw())
    if tuned:
        trainer.activation_scaler.scaling_factor = scale
        for group in trainer.optimizer.param_groups:
            group["fused"] = True
    if job.get("compile"):
        model.training_forward_pass = torch.compile(model.training_forward_pass)
    trainer.fit()
    data.wait()
    data.stamps.append(time.perf_counter())
    state = {name: value.detach().clone() for name, value in model.state_dict().items()}
    model.process_state_dict_for_saving_inference(state)
    return dict(w_enc=state["W_enc"].T, b_enc=state["b_enc"], w_dec=state["W_dec"], b_dec=state["b_dec"])


def dictionary_learning(job: dict, data: Batches) -> dict:
    """dictionary_learning's trainSAE; tuned: TopKTrainer.update itself, since trainSAE never autocasts on a CPU."""
    from dictionary_learning.trainers.top_k import TopKTrainer
    from dictionary_learning.training import trainSAE

    steps, tuned = job["steps"], job["tuned"]
    settings = dict(steps=steps, activation_dim=job["d"], dict_size=job["width"], k=job["k"], layer=0, lm_name="",
                    seed=0, device=job["device"], warmup_steps=job["warmup"] if tuned else min(1000, steps // 10))
    if not tuned:
        keep = []

        class Kept(TopKTrainer):
            def __init__(self, **kwargs):
                super().__init__(**kwargs)
                keep.append(self)

        trainSAE(data.draw(), [dict(settings, trainer=Kept)], steps, device=job["device"])
        ae, scale = keep[0].ae, 1.0
    else:
        trainer = TopKTrainer(**settings, lr=job["lr"], decay_start=steps - round(job["decay"] * steps))
        for group in trainer.optimizer.param_groups:
            group.update(fused=True, betas=(0.9, job["beta2"]))
        if job.get("compile"):
            del trainer.ae.k  # a tensor, at which the compiler stops
            trainer.ae.k = job["k"]
            trainer.ae.encode = torch.compile(trainer.ae.encode)
        scale, _ = _scale(data)
        for step, x in enumerate(data.draw()):
            if step < steps:
                with _autocast(job):
                    trainer.update(step, x * scale)
        ae = trainer.ae
    ae.scale_biases(1 / scale)
    return dict(w_enc=ae.encoder.weight, b_enc=ae.encoder.bias, w_dec=ae.decoder.weight.T, b_dec=ae.b_dec)


def sparsify(job: dict, data: Batches) -> dict:
    """sparsify's SparseCoder and the step of its Trainer, which itself takes only a language model.

    Defaults: its optimiser (schedule-free sign descent) and rate; tuned: Adam, our rate and schedule.
    """
    from schedulefree import ScheduleFreeWrapper
    from sparsify import SparseCoder, SparseCoderConfig
    from sparsify.sign_sgd import SignSGD

    steps, tuned = job["steps"], job["tuned"]
    torch.manual_seed(0)
    model = SparseCoder(job["d"], SparseCoderConfig(num_latents=job["width"], k=job["k"]), job["device"], torch.float32)
    scale, center = _scale(data)
    model.b_dec.data = center * scale if tuned else data.sample().mean(0)
    scale = scale if tuned else 1.0
    if tuned:
        optimizer = torch.optim.Adam(model.parameters(), lr=job["lr"], betas=(0.9, job["beta2"]), fused=True)
        rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: min(
            1.0, (i + 1) / max(1, job["warmup"]), (steps - i) / max(1, round(job["decay"] * steps))))
    else:
        optimizer = ScheduleFreeWrapper(SignSGD(model.parameters(), lr=5e-3 / (job["width"] / 2**14) ** 0.5),
                                        momentum=0.95)
        optimizer.train()
    for step, x in enumerate(data.draw()):
        if step < steps:
            model.set_decoder_norm_to_unit_norm()
            with _autocast(job):
                model(x * scale).fvu.backward()
            model.remove_gradient_parallel_to_decoder_directions()
            optimizer.step()
            optimizer.zero_grad()
            if tuned:
                rate.step()
    if not tuned:
        optimizer.eval()
    model.set_decoder_norm_to_unit_norm()
    return dict(w_enc=model.encoder.weight, b_enc=model.encoder.bias / scale, w_dec=model.W_dec,
                b_dec=model.b_dec / scale)


def _scale(data: Batches) -> tuple[float, torch.Tensor]:
    """The factor that gives rows a mean squared norm of d, and the rows' mean."""
    x = data.sample()
    return math.sqrt(x.shape[1]) / x.square().sum(1).mean().sqrt().item(), x.mean(0)


def _autocast(job: dict):
    if not job.get("autocast"):
        return contextlib.nullcontext()
    return torch.autocast(job["device"], torch.bfloat16)


def main(peer: str, path: Path) -> None:
    """Do the job at `path` and write weights.safetensors and steps.json beside it."""
    job = json.loads(path.read_text())
    data = Batches(job)
    weights = {"saelens": saelens, "dictionary_learning": dictionary_learning, "sparsify": sparsify}[peer](job, data)
    save_file({name: value.detach().float().cpu().contiguous() for name, value in weights.items()},
              path.with_name("weights.safetensors"))
    path.with_name("steps.json").write_text(json.dumps(data.taken()[:job["steps"]]))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
