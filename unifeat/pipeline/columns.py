"""What a row of each table is and what its columns mean, in words that hold for any lineage."""

from unifeat.pipeline.study_columns import STUDIES

SHARED = {  # columns that mean the same in every table
    "replicates": "SAE seeds behind a row",
    "versus, difference": "the variant from which this one's excess differs most beside its uncertainty, and by how "
                          "much",
    "difference_low, difference_high, comparisons": "the difference's interval over documents and SAE seeds, corrected "
                                                    "for so many comparisons (Bonferroni)",
    "p": "chance of such a difference if there is none, corrected after Holm",
    "observed": "the share of features with a partner at the threshold",
    "ci_low, ci_high": "its 95 % interval, over documents and SAE seeds unless the table says otherwise",
    "ceiling, ceiling_low, ceiling_high": "the same share between two SAEs of one model, and its interval",
    "null": "the same share when one side's activations trade places among the positions of the same token, unless the "
            "table says otherwise; positions of a token that the comparison text has once are left out",
    "excess, excess_low, excess_high": "(observed - null) / (ceiling - null), and its interval",
    "l0": "active latents per token",
    "fvu": "share of the variance that the SAE leaves unexplained",
    "ce_recovered_mean, ce_recovered_zero": "cross-entropy that the SAE keeps: 1 is the untouched model, 0 the model "
                                            "with the activation's mean, or zero, in its place",
    "dead_share": "share of latents that stopped firing in training",
    "live": "latents that fire often enough on the comparison text to be compared",
    "loss_nats, accuracy, bits_per_byte": "loss per token, share of next tokens foreseen, loss per byte of text",
}

VARIANTS = ("One row per variant `x`; shares are of both sides' features, one to one. Where variants need SAEs of "
            "their own, their quality stands beside.")

TABLES = {  # what a row is, and the columns of its own
    "persistence": ("One row per compared pair, arm, side, rule and threshold.", {
        "arm": "`controlled`: SAEs of one common text, from different seeds; or `as_published`: of each model's own "
               "text, from equal seeds, of the kind in the lineage's table `published`",
        "parent, child": "the two models",
        "side": "whose features are counted; `both` is the geometric mean of the two shares",
        "rule": "`best` match, `mutual` best match, or `one_to_one` (the assignment with the greatest sum of r)",
        "tau": "the threshold on Pearson's r",
        "n_parent, n_child": "live features, mean over the pairs of SAEs",
        "features": "all; `beyond_token`: those whose mean given the current token does not predict them (r below the "
                    "lineage's threshold); `beyond_neuron`: whose decoder lies along no axis of what the SAE reads "
                    "(cosine below the threshold); `beyond_both`; or `found_again`: those that have a partner in every "
                    "seed twin",
        "null_untrained": "the share that the SAE of a model that was never trained has of the same features"}),
    "ceilings": ("One row per model and set of its features, one to one at the lineage's threshold. Where latents fall "
                 "silent `ceiling` rises without one more shared feature, and `of_latents` does not.", {
        "model, features": "the model, and which features: all, or those beyond the current token, beyond one axis of "
                           "what the SAE reads (a neuron, inside the MLP), or beyond both",
        "tau, width": "the threshold on r, and the number of latents",
        "counted": "how many live features the set has, mean over seeds",
        "of_latents, of_latents_low, of_latents_high": "the features of the set that a second SAE finds again, as a "
                                                       "share of all latents, and its interval",
        "null_untrained": "the share of the set that the SAE of an untrained model has too"}),
    "ladder": ("One row per rung and rule; shares are of the child's features at the lineage's threshold.", {
        "group, comparison": "the rung, and what is compared on it",
        "rule": "`best` or `one_to_one`",
        "n_parent, n_child": "live features",
        "mean, min, 10%, 25%, 50%, 75%, 90%, max": "the distribution of r",
        "null_untrained, null_rotated": "the share with the SAE of a never trained model, and with rotated "
                                        "activations"}),
    "flow": ("One row per ribbon of Figure 2.", {
        "source, target": "two models, or a model and a group of its features (such as `both`, `new`, `neither`)",
        "kind": "persist, emerge or disappear",
        "features": "how many, mean over the pairs of SAEs",
        "share": "of the target's live features, or of the source's where they disappear or are split by fate"}),
    "models": ("One row per model, domain and split; `ngram` is the baseline, a mixture of Kneser-Ney models.", {
        "model, domain, split": "what is measured, and on which text",
        "tokens, bytes": "how much text that is"}),
    "loss_curves": ("One row per evaluation in training.", {
        "model, step, tokens": "how far the training was",
        "split, domain": "the text",
        "loss": "nats per token"}),
    "merge_sweep": ("One row per merge, method, t and domain.", {
        "merge, domain": "the merge, and the text",
        "method": "`slerp`, `lerp` (a straight line) or `base` (the parents' common parent on the same text)",
        "t": "0 is the first parent, 1 the second"}),
    "merge_kept": ("One row per source, parent and t: the curves at the right of Figure 5.", {
        "source": "`this run` or `published`, the paper's own sweep",
        "parent, t": "whose accuracy, and where; t is 0 at the first parent, 1 at the second",
        "kept": "SLERP's accuracy on the parent's own text over the parent's own"}),
    "angles": ("One row per tensor of the merge's parents.", {
        "tensor, degrees": "the tensor, and the angle between the two",
        "lerp": "whether SLERP is a straight line there"}),
    "corpora": ("One row per domain, split and source.", {
        "domain, split, source": "what the text is",
        "package, version, sha256, licence": "where it comes from",
        "documents, bytes, tokens": "how much there is",
        "duplicates": "near-duplicates that were dropped"}),
    "leakage": ("One row per domain.", {
        "domain, share": "the share of its held-out windows of 13 tokens that also stand in its training text"}),
    "saes": ("One row per SAE, on held-out text of its model's own kind.", {
        "model, kind, seed, width": "what it is",
        "arm": "`controlled` (one common text for all models, its own weights to start from) or `as_published` (the "
               "model's own text, equal weights to start from)"}),
    "sae_density": ("One row per latent.", {
        "model, seed": "its SAE",
        "log10_density": "log10 of the share of tokens on which it fires"}),
    "multiplicity": ("One row per edge and arm, and per model's seed twins (`x → x`), at the lineage's threshold.", {
        "pairs": "parent → child, and the arm",
        "passing, partners": "the child's features whose best match passes, and how many features of the parent these "
                             "choose; means over pairs of SAEs",
        "shared, largest": "share of the passing features whose partner another of them has chosen too, and the most "
                           "that chose one",
        "same_best, same_one_to_one, same_chance": "share of the pairs with one index on both sides, by best match and "
                                                   "one to one, and what chance gives"}),
    "partners": ("One row per live feature of the first parent's first SAE. The column named after the parent numbers "
                 "it; those named after other models number its best matches, and `r_` before a name is their r.", {
        "r_twin": "its best r in a second SAE of the same model",
        "fires": "on how many tokens it fires",
        "beyond_token, beyond_neuron": "whether it is more than a look-up of the current token, and than one neuron"}),
    "fig3_universal": ("One row per shown token and model.", {
        "case, position, token": "the context",
        "model, feature, activation": "the feature that is shown or matched, and its activation on the token",
        "r": "of the matched feature with the shown one",
        "r_twin": "of the shown feature with the second SAE of its own model"}),
    "fig4_vanished": ("As `fig3_universal.csv`.", {}),
    "explanations": ("One row per explained feature and group.", {
        "group, kind": "the group of Figure 6; `control` groups are grey there",
        "model, seed, feature": "the feature",
        "explainer, explanation": "who says what",
        "simulation": "Pearson's r of predicted and true activations on held-out text",
        "detection": "balanced accuracy of telling the windows in which it fires",
        "token": "whether the current token decides the feature: r with its mean given the token reaches the "
                 "threshold"}),
    "explanations_split": ("One row per group, half and score: are the features that can be explained those that the "
                           "current token decides?", {
        "group, kind": "as in `explanations.csv`",
        "token": "whether the token decides these features",
        "score, n, mean": "`simulation` or `detection`, how many of them have it, and their mean"}),
    "swap": ("One row per SAE and model.", {
        "sae_model, seed": "the SAE",
        "model": "whose activations it reads"}),
    "weights": ("One row per edge, set of features and verdict. Intervals draw the child's features.", {
        "edge": "parent and child",
        "features, share": "all, or those beyond one neuron, and how large a part of all these are",
        "matched_by, verdict": "what pairs the features, and what judges the pairs: r, the cosine of decoders or of "
                               "encoders, or r of the effects on the logits",
        "strangers, rotated, neurons": "nulls: partners permuted, dictionary rotated, its neurons permuted; the "
                                       "greatest is `null`",
        "untrained": "the SAE of an untrained model in the parent's place"}),
    "agreement": ("One row per edge and verdict, over one-to-one pairs.", {
        "edge, verdict, pairs": "what is judged, by what, and how many pairs",
        "share_r, share": "of the pairs at the threshold by r, and by the verdict",
        "spearman": "rank correlation of the two",
        "same, kappa": "how often both agree at the threshold, and beyond chance"}),
    "causal": ("One row per pair whose features are taken out, each of its own model. Of two SAEs of one model "
               "(`x → x`) it is the ceiling.", {
        "edge, parent, child, r": "the pair",
        "agreement": "r of the two changes of the logits",
        "random": "the same with a stranger of the child"}),
    "functional": ("One row per edge and verdict, estimated from the pairs of `substitution.csv`. Intervals draw the "
                   "child's features.", {
        "edge, pairs": "parent and child, and how many pairs were drawn",
        "verdict": "`activation` (a one-to-one partner at the threshold), `function` (a partner that does the job), "
                   "or `joint` (both); `observed` is the share of the child's live features",
        "null": "a stranger in the partner's place recovers half of the effect",
        "next_best": "the parent's best other feature does"}),
    "substitution": ("One row per drawn pair: the child's feature taken out of the child's model, and the parent's put "
                     "in its place, on tokens where the child's fires.", {
        "edge, kind, seed": "parent and child (`x → x`, kind `twins`: two SAEs of one model), and the seed of the "
                            "child's SAE",
        "parent, child, r, logits": "the pair, r of its activations and of its effects on the logits",
        "alpha": "how the partner is scaled: 1 is as it is in its own model",
        "kl_removed, kl_partner, kl_next_best, kl_random": "KL divergence of the next-token distribution from the "
            "untouched model's, nats, with the feature taken out, and with its partner, the parent's best other "
            "feature or another pair's partner in its place",
        "ce_removed, ce_partner": "change of the loss on the next token, nats",
        "recovered, recovered_next_best, recovered_random": "1 - kl / kl_removed: 1 does the whole job, 0 none of it",
        "weight, live": "how many of the child's pairs the pair stands for, and how many live features the child has",
        "functional": "whether the partner recovers half and more than the other two"}),
    **STUDIES,
    "control_initialization": ("One row per edge and arm.", {
        "x, edge": "the arm and the edge",
        "same_index": "share of the pairs that have one index in both SAEs"}),
    "control_frontier": ("One row per recipe, on the first edge's parent.", {
        "varied, value": "the one thing that differs; `neurons` are the axes of what the SAE reads, never trained, "
                         "whose ceiling is 1 by construction",
        "width, k, tokens": "the recipe",
        "per_neuron": "latents per axis of what the SAE reads",
        "shared": "features that the other seed finds again",
        "live_beyond_neuron": "those of `live` that are no single axis",
        "ceiling_beyond_neuron, ceiling_beyond_neuron_low, ceiling_beyond_neuron_high": "the ceiling of these"}),
    "control_sites": (VARIANTS, {
        "hook, features": "where the SAEs read, and which features: all, or those that are no single axis of it "
                          "(inside the MLP an axis is a neuron; at its output one of the residual stream, and nothing "
                          "special)",
        "share": "how many of the child's live features these are, as a share"}),
    "control_densities": ("One row per fifth of the child's features by density, `x`: log10 of its median. Shares are "
                          "of these features, one to one; the null counts as 0.", {}),
    **{f"control_{name}": (VARIANTS, {}) for name in ("thresholds", "mixes", "sizes", "lengths", "models")},
    "control_kinds": (VARIANTS, {"matched": "whether L0 is near enough to k for a fair comparison"}),
}
