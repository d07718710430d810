"""What a row of each table of the studies is, and the columns of its own, as in `columns`."""

STUDIES = {
    "dose": ("One row per child, training seed, dose, set of features and side, one to one; intervals are over "
             "documents.", {
        "child, model_seed": "the child, and what was added to the seed of its training",
        "dose, lr, tokens": "learning rate as a multiple of the child's own, the rate itself, and tokens trained on",
        "gain_nats, forgetting_nats": "held-out loss per token: its fall on the child's own domains against the "
                                      "parent, and its rise on the parent's",
        "weight_distance": "|child - parent| / |parent| over all weights",
        "neuron_r": "median over MLP neurons of Pearson's r between the parent's and the child's",
        "features, side": "as in `persistence.csv`"}),
    "dose_zero": ("Dose 0, the parent against itself: one row per way in which the second SAEs differ, set of features "
                  "and side.", {
        "model": "the model",
        "differs": "`seeds`, `text` or `both`: what sets the second SAEs apart from the first",
        "sae_text": "what the second SAEs read: the common text, or that of a child",
        "features, side": "as in `persistence.csv`"}),
    "dose_merges": ("One row per merge of the children, dose, parent, set of features and side, for the first training "
                    "seed.", {
        "merge, model_seed, dose, parent": "the merge, the children's training seed, their dose, and one of them",
        "t, kept": "where both parents keep the same share of their accuracy on their own text, and that share",
        "features, side": "as in `persistence.csv`, of the pair parent → merge"}),
    "real_model": ("One row per hook point, model that comes from the given one, set of features and side, one to one; "
                   "intervals are over documents.", {
        "hook": "the hook point that the SAEs read",
        "parent, model, trained": "the given model, the other one, and whether it was fine-tuned",
        "rise_own, rise_other": "rise of the held-out loss (nats per token) on the children's text, and mean over the "
                                "other domains",
        "weight_distance, neuron_r": "as in `dose.csv`; the axes are those of what the SAEs read",
        "features, side": "as in `persistence.csv`",
        "null_untrained": "as in `persistence.csv`"}),
    "ancestry": ("One row per compared model, text of the SAEs, set of features and side, one to one; intervals are "
                 "over documents.", {
        "model, ancestry": "the model beside the parent, and whether it is the parent's `child` or has `none` of it",
        "sae_text": "`common` to all, or each model's `own`",
        "features, side": "as in `persistence.csv`"}),
    "nulls": ("One row per change of the parent, set of features and side, one to one, SAEs of the common text; "
              "intervals are over documents.", {
        "parent, model, change": "the parent, the changed model, and how it came about",
        "rise_parent_text, rise_child_text": "rise of the held-out loss (nats per token) on the parent's and on the "
                                             "child's text",
        "weight_distance, neuron_r": "as in `dose.csv`",
        "features, side": "as in `persistence.csv`"}),
    "replicates": ("One row per language-model seed, edge, set of features and side, one to one. Intervals are over "
                   "documents, of the rows `all` over language-model seeds (Student's t).", {
        "model_seed": "what was added to the seeds of all models, or `all`: means over them",
        "parent, child, features, side": "as in `persistence.csv`"}),
    "checkpoints": ("One row per language-model seed, arm, step of pre-training, task, domain and format. Losses are "
                    "per target token; intervals are over documents.", {
        "model_seed": "what was added to the seeds of all models",
        "arm": "`tuned`, `small` (a quarter of its rate) or `order` (another order of the blocks)",
        "step, task, seen": "the checkpoint, the domain it is tuned on, and whether pre-training had it",
        "domain, format": "the text that is measured, and its header: the tuning's, another, none",
        "base_nats, tuned_nats": "loss before and after tuning",
        "gain_nats, gain_low, gain_high": "base minus tuned, and its interval",
        "base_accuracy, tuned_accuracy, base_bits_per_byte, tuned_bits_per_byte": "the same models in other units"}),
    "checkpoint_findings": ("One row per language-model seed and finding of the paper; of `latent_benefit` per task.", {
        "model_seed, finding, task": "the seed, the finding, and the task it is of",
        "value, beside": "of `latent_benefit` Spearman's rho of the tuned loss with the step, and the move of the "
                         "base's over the last half as a share of the tuned one's fall; of `unseen_gain` the mean gain "
                         "on new and on seen tasks; of `forgetting` the greatest certain rise of a loss and the mean "
                         "change of accuracy; of `format` the spread at the last step and the greatest",
        "holds": "whether the goal is met"}),
    "checkpoint_formats": ("One row per language-model seed, step and task. Intervals are over documents.", {
        "model_seed, step, task": "as in `checkpoints.csv`",
        "spread, spread_low, spread_high": "the greatest minus the least tuned loss over the three formats"}),
    "checkpoint_features": ("One row per checkpoint, set of features and side: what it shares with the last, one to "
                            "one. Intervals are over documents.", {
        "step": "of the checkpoint, which is the parent",
        "features, side, null_untrained": "as in `persistence.csv`"}),
    "feature_survival": ("One row per path, order of its models, SAE seed and length of life (Kaplan-Meier).", {
        "path, order, seed": "along `training` or `merge`; `as trained` or `shuffled`; the SAEs' seed",
        "lived": "models that a latent passed on to, at least",
        "alive, low, high": "the share of lives that last so long, and its interval over features",
        "at_risk": "lives that were seen for so long"}),
    "feature_cohorts": ("One row per path, SAE seed and place of birth.", {
        "path, seed, born": "the path, the SAEs' seed, and the place on the path where the lives begin",
        "alive_at_end, low, high": "the share of them that lasts to the last model, and its interval over features",
        "features": "how many begin there"}),
    "feature_drift": ("One row per path, SAE seed and model after the first.", {
        "path, seed, at": "the path, the SAEs' seed, and the model",
        "alive": "latents that are alive in it and in the one before",
        "r_median, cosine_median": "median r of a latent's activations, and cosine of its decoder row, with its past",
        "same, null_same": "the share whose r reaches the threshold; and that share where the model did not change"}),
    "feature_gain": ("One row per task that pre-training did not have, and checkpoint.", {
        "model_seed, task, step": "as in `checkpoints.csv`",
        "features_of_the_end": "the share of the last checkpoint's features that this one has",
        "gain_nats": "what fine-tuning gains on the task"}),
    "value_networks": ("One row per language-model seed, target, method and domain. Intervals are over "
                       "documents.", {
        "model_seed": "what was added to the seeds of all models",
        "target": "the model to which the logits are added",
        "method": "the value network (scheme or start, and the norm's weight), or `proxy`: the fine-tuned root's "
                  "logits minus the root's; or `lora`: low-rank adapters on the target itself",
        "domain, task": "the text, and whether the value network learned it",
        "alone_nats, with_nats, tuned_nats": "loss of the target alone, with the method, and fine-tuned whole",
        "recovered, recovered_low, recovered_high": "the share of full fine-tuning's gain, and its interval"}),
    "value_means": ("One row per target and method: means over language-model seeds, with Student's 95 % "
                    "interval.", {
        "target, method": "as in `value_networks.csv`",
        "recovered, low, high": "the share of full fine-tuning's gain, and its interval",
        "rise_elsewhere": "rise of the loss on the other domains, nats per token"}),
    "merge_search": ("One row per language-model seed, method, half of the held-out text and domain.", {
        "model_seed": "what was added to the seeds of all models",
        "method": "how the merge was found: `best_single` of root and children; `mean` and `slerp_half` of the "
                  "children, without a search; `slerp_grid` over t; `simplex_grid` over weights of root and children; "
                  "`greedy_soup`; `cma`, CMA-ES over weights by part of the model; `evolver_` by the paper's or the "
                  "code's rule, `expected` with its mask's mean in the mask's place, or with a merger in its fitness",
        "evaluations": "models that it ranked by development text",
        "split, domain": "`dev`, by which it chose, or `test`; `macro` is the mean of the domains"}),
    "merge_evolution": ("One row per seed, rule, generation and member of the population; loss is the mean of the "
                        "domains, in nats per token.", {
        "model_seed, method": "as in `merge_search.csv`",
        "generation, member": "0 is before the first; `best` is the fittest",
        "dev, test": "loss on development text, and of the fittest on test text"}),
    "merge_rates": ("One row per rule of Evolver, F and Cr, on half the budget, one seed.", {
        "rule, f, cr": "the rule, the size of a mutation, the share of weights that cross over",
        "dev, test": "macro loss of the fittest on both halves"}),
    "merge_shapes": ("One row per shape of model, seed and method.", {
        "shape, task": "encoder, decoder or both, and what it is to tell",
        "model_seed, method": "the seed, and how the merge was found",
        "dev, test": "loss, nats per token to be told, mean of the domains"}),
    "merge_features": ("One row per merge, parent, set of features and side, one to one; intervals are over "
                       "documents.", {
        "merge, method, parent": "the merge, its method, and the parent it is compared with",
        "kept, loss_own": "the share of the parent's accuracy that the merge has on the parent's own text, and "
                          "its loss",
        "weight_distance": "|merge - parent| / |parent|",
        "features, side, null_untrained": "as in `persistence.csv`"}),
    "merge_lost": ("One row per merge and pair of SAE seeds of the two parents. Intervals resample features.", {
        "merge, method, seed_a, seed_b": "the merge (its SAE has the second seed), and the seeds",
        "shared": "features of the first parent that the other shares",
        "lost, lost_low, lost_high, lost_floor": "the share of these without a partner in the merge, its interval, and "
                                                 "the share without one in the parent's own second SAE",
        "novel, novel_low, novel_high, novel_floor": "the share of the merge's features without a partner in either "
                                                     "parent, its interval, and without one in its own second SAE"}),
    "merge_losses": ("One row per model and domain, on held-out text; `parent` is the method of root and parents.", {
        "merge, method, domain": "the model, how it was made, and the text"}),
}
