"""What the figures show, in words that hold for any lineage."""

FIGURES = {  # in the order of the page: title, caption
    "fig1_design": ("Figure 1, the design",
        "How each model is made and on which text, with its held-out loss and the size of its SAEs."),
    "fig2_flow": ("Figure 2, the flow",
        "A ribbon holds the features that parent and child share one to one. The table gives each share with its "
        "interval, ceiling and null; the curves give it at every threshold."),
    "ladder": ("The ladder",
        "How well partners correlate, rung by rung. The lowest rungs have nothing to share; the highest is a second "
        "SAE of the same model."),
    "fig3_universal": ("Figure 3, features that stay",
        "First the feature whose lowest correlation over all other models is the highest, then one in the middle of "
        "those that persist into the first child, of features that the current token does not decide (where there "
        "are any). The darker a token, the stronger the feature fires."),
    "fig4_vanished": ("Figure 4, features that go and come",
        "One feature that a second SAE of the parent finds again and the child lacks, one that emerges in the child, "
        "one at the threshold, all beyond the current token where there are any, and one drawn at random from all."),
    "fig5_merge_sweep": ("Figure 5, the merge along t",
        "Accuracy and loss from the first parent (t = 0) to the second (t = 1): SLERP solid, a straight line dotted, "
        "the parents and their common parent dashed. Right: the share of each parent's accuracy on its own text that "
        "is kept, this run solid, the paper's own sweep dashed where the lineage has it; rings mark where both parents "
        "keep the same share, diamonds the paper's t. Only shares compare: text, tokenizers and sizes differ."),
    "fig6_explanations": ("Figure 6, explanation scores",
        "How well an explanation predicts its feature on held-out text. The grey groups are controls: neurons, an SAE "
        "of a random model, and explanations of other features. Below, the mean scores of the features that the "
        "current token decides, and of the others."),
    "corpora": ("The text",
        "How much text each domain has, to train on and held out."),
    "loss_curves": ("The training",
        "Training loss (thin) and held-out loss on every domain, for each trained model."),
    "domain_matrix": ("Every model on every domain",
        "Held-out loss, with the n-gram baseline beside it, a mixture of one Kneser-Ney model per domain of the roots' "
        "training text. A frame marks a model's own domains."),
    "sae_card": ("The SAE card",
        "Active latents, unexplained variance, recovered cross-entropy and dead latents of every SAE. Compare the "
        "features of two models only where these are alike."),
    "swap": ("Every SAE on every model",
        "How well the dictionary of one model describes the activations of another."),
    "verdicts": ("Other verdicts",
        "Whether weights, effects on the logits and ablations agree with correlation on which features are the same."),
    "functional": ("Persistence by function",
        "Which features fire alike in the parent, which have a partner that does their job in the child's model, and "
        "which have both. Hollow marks are ceilings, between two SAEs of the child's model; ticks are another feature "
        "in the partner's place."),
    "dose": ("The dose of fine-tuning",
        "Above: what persists against what was learned, for the same children at several learning rates (times the "
        "child's own, beside the marks); solid all features, dashed those beyond the token and single neurons; grey "
        "the ceilings and the nulls. Below: what the children forgot, how alike each neuron stays, and the shares of "
        "accuracy and features that their merge keeps. Marks are training seeds, lines their means."),
    "checkpoints": ("Checkpoints and fine-tuning",
        "Along the root's training: the loss of each checkpoint (dashed) and of the model that was fine-tuned from it "
        "(solid) on the tuned domain, for domains that the root did not train on and for those that it did; the gain "
        "with its interval over documents, a mark per seed; what is forgotten elsewhere; and how much a header at the "
        "start of the text matters."),
    "life_histories": ("Features along training",
        "The share of a checkpoint's features that the last one has, with ceiling and null; how long latents of SAEs "
        "that go on from model to model stay the same, beside a random order of the models; the share that lasts to "
        "the end, by birth; how far latents drift; where those of the end were born, by the domain on which they fire "
        "most; and what fine-tuning gains against the features that are there already."),
    "merge_search": ("Merging by development text",
        "Above: Evolver's population by generation, by the rule of its paper and that of its released code, and the "
        "test loss at other sizes of mutation (F) and shares that cross (Cr). Below: the test loss of every method, at "
        "one number of evaluations, against SLERP at 0.5 of the same seed. Every method ranks models by development "
        "text alone. Bars are intervals of the mean over seeds of the language models."),
    "merge_features": ("What merges keep and lose",
        "Above: the share of a parent's features that each merge keeps, and its distance in weights, against the share "
        "of that parent's accuracy that it keeps. Below: of the features that both parents have, those that the merge "
        "lost, and of the merge's features, those that neither parent has; a mark per pair of SAE seeds, crosses what "
        "a second SAE of the same model misses."),
    "value_networks": ("Fine-tuning carried over",
        "What a value network, trained beside the root alone, recovers of full fine-tuning on each model: 0 is the "
        "model alone, 1 the model fine-tuned whole on the same text. Right: what it costs on the other domains."),
    "real_model": ("A model that nobody here made",
        "What a released model, read from a GGUF file, shares with two children that are fine-tuned from it (filled) "
        "and with two models in which nothing of meaning changed (hollow), at two places of its middle layer. Ceilings "
        "are of SAEs of other seeds."),
    "ancestry": ("Ancestry or text",
        "What the parent shares with its child (filled) and with a model that was trained from scratch on the child's "
        "text (hollow), through SAEs of one common text and of each model's own. Ceilings are of SAEs that read what "
        "the compared ones read."),
    "null_models": ("Other changes of the parent",
        "What the parent shares with its child (filled) and with models that changed in other ways: trained on with "
        "the parent's own text, moved at random, rounded, from scratch, never trained."),
    "replicates": ("Seeds of the language models",
        "Every edge in lineages that were trained from other seeds, a mark each; the bar is the interval of their "
        "mean."),
    "control_initialization": ("Control: initial weights",
        "Excess on every edge when the SAEs start from different and from the same weights."),
    "control_thresholds": ("Control: threshold",
        "Excess at each threshold on the correlation."),
    "control_densities": ("Control: firing density",
        "Excess by how often a feature fires, in fifths of the child's features."),
    "control_mixes": ("Control: comparison text",
        "Excess on each domain alone and on all of them together."),
    "control_kinds": ("Control: kind of SAE",
        "Excess for each kind of SAE, all with about the same number of active latents."),
    "control_sizes": ("Control: size of the dictionary",
        "Excess by the number of latents per MLP neuron."),
    "control_lengths": ("Control: length of training",
        "Excess by the number of activations that the SAEs were trained on."),
    "control_models": ("Control: seed of the language model",
        "Parent and child, beside two models that were trained alike from different seeds."),
    "control_frontier": ("Control: recipes of SAEs",
        "How much of one SAE a second one finds again, against recovered cross-entropy: of all features, and of those "
        "that are no single neuron. Each recipe differs from the adopted one in one thing; the cross is the neurons "
        "themselves, which any two agree on."),
    "control_sites": ("Control: site of the SAE",
        "SAEs inside the MLP and at its output, where no axis is a neuron: all features, and those that are no single "
        "axis of what the SAE reads."),
}
