"""What `make figures`, `make controls` and `make studies` promise to write, and whether they did."""

from pathlib import Path

from unifeat.pipeline.notebooks import NotebookError
from unifeat.support import paths

FIGURES = ("corpora", "loss_curves", "domain_matrix", "fig5_merge_sweep", "sae_card", "fig1_design",
           "fig2_flow", "ladder", "fig3_universal", "fig4_vanished", "fig6_explanations", "swap", "verdicts",
           "functional")
GUIDE = "guide_your_own_models"
LONG = ("09_controls",)  # `controls` runs these, `figures` does not
CONTROLS = tuple(f"control_{name}" for name in ("initialization", "thresholds", "densities", "mixes", "kinds",
                                                "sizes", "lengths", "models", "frontier", "sites"))
STUDIES = {  # `studies` runs these: figures, and tables with their columns
    "11_dose": (("dose",), {
        "dose": "child,model_seed,dose,lr,tokens,gain_nats,forgetting_nats,weight_distance,neuron_r,features,side,"
                "observed,ci_low,ci_high,ceiling,ceiling_low,ceiling_high,null,excess,excess_low,excess_high",
        "dose_zero": "model,differs,sae_text,features,side,observed,ci_low,ci_high,ceiling,ceiling_low,ceiling_high,"
                     "null,excess,excess_low,excess_high",
    }),
    "13_checkpoints": (("checkpoints", "life_histories"), {
        "checkpoints": "model_seed,arm,step,task,seen,domain,format,base_nats,tuned_nats,gain_nats,gain_low,gain_high,"
                       "base_accuracy,tuned_accuracy,base_bits_per_byte,tuned_bits_per_byte",
        "checkpoint_findings": "model_seed,finding,task,value,beside,holds",
        "checkpoint_formats": "model_seed,step,task,spread,spread_low,spread_high",
        "checkpoint_features": "step,features,side,observed,ci_low,ci_high,ceiling,ceiling_low,ceiling_high,null,"
                               "excess,excess_low,excess_high,null_untrained",
        "feature_survival": "path,order,seed,lived,alive,low,high,at_risk",
        "feature_cohorts": "path,seed,born,alive_at_end,low,high,features",
        "feature_drift": "path,seed,at,alive,r_median,cosine_median,same,null_same",
        "feature_gain": "model_seed,task,step,features_of_the_end,gain_nats",
    }),
    "14_merging_by_search": (("merge_search", "merge_features"), {
        "merge_search": "model_seed,method,evaluations,split,domain,loss_nats",
        "merge_evolution": "model_seed,method,generation,member,dev,test",
        "merge_rates": "rule,f,cr,dev,test",
        "merge_shapes": "shape,task,model_seed,method,dev,test",
        "merge_features": "merge,method,parent,kept,loss_own,weight_distance,features,side,observed,ci_low,ci_high,"
                          "ceiling,ceiling_low,ceiling_high,null,excess,excess_low,excess_high,null_untrained",
        "merge_lost": "merge,method,seed_a,seed_b,shared,lost,lost_low,lost_high,lost_floor,novel,novel_low,novel_high,"
                      "novel_floor",
        "merge_losses": "merge,method,domain,loss_nats,accuracy",
    }),
    "15_value_networks": (("value_networks",), {
        "value_networks": "model_seed,target,method,domain,task,alone_nats,with_nats,tuned_nats,recovered,"
                          "recovered_low,recovered_high",
        "value_means": "target,method,recovered,low,high,rise_elsewhere",
    }),
    "20_real_model": (("real_model",), {
        "real_model": "hook,parent,model,trained,rise_own,rise_other,weight_distance,neuron_r,features,side,observed,"
                      "ci_low,ci_high,ceiling,ceiling_low,ceiling_high,null,excess,excess_low,excess_high,"
                      "null_untrained",
    }),
    "21_ancestry": (("ancestry", "null_models", "replicates"), {
        "ancestry": "model,ancestry,sae_text,features,side,observed,ci_low,ci_high,ceiling,ceiling_low,ceiling_high,"
                    "null,excess,excess_low,excess_high",
        "nulls": "parent,model,change,rise_parent_text,rise_child_text,weight_distance,neuron_r,features,side,observed,"
                 "ci_low,ci_high,ceiling,ceiling_low,ceiling_high,null,excess,excess_low,excess_high",
        "replicates": "model_seed,parent,child,features,side,observed,ci_low,ci_high,ceiling,ceiling_low,ceiling_high,"
                      "null,excess,excess_low,excess_high",
    }),
}
TABLES = {  # columns in their order
    "models": "model,domain,split,tokens,bytes,loss_nats,accuracy,bits_per_byte",
    "saes": "model,kind,seed,arm,width,l0,fvu,ce_recovered_mean,ce_recovered_zero,dead_share,live",
    "persistence": ("arm,parent,child,side,rule,tau,n_parent,n_child,"
                    "observed,ci_low,ci_high,ceiling,null,excess,features,ceiling_low,ceiling_high,"
                    "excess_low,excess_high,null_untrained"),
    "ceilings": ("model,features,tau,width,live,counted,ceiling,ceiling_low,ceiling_high,"
                 "of_latents,of_latents_low,of_latents_high,null_untrained"),
    "flow": "source,target,kind,features,share",
    "multiplicity": "pairs,passing,partners,shared,largest,same_best,same_one_to_one,same_chance",
    "explanations_split": "group,kind,token,score,n,mean,ci_low,ci_high",
    "explanations": "group,kind,model,seed,feature,explainer,explanation,simulation,detection,token",
}
OF_A_SHAPE = {  # written where the lineage has the shape
    "merge_sweep": "method,t,domain,loss_nats,accuracy,merge",
    "merge_kept": "source,parent,t,kept",
}
WITH_EDGES = ("persistence", "flow", "multiplicity")  # have rows only where there is an edge


def check(folder: Path, saved: set[str], promised=FIGURES, tables=TABLES, edges: bool = True) -> list[str]:
    """Every promised file is in `folder`, saved by this run, and every promised table has its columns.

    Returns the sentences on figures that were left out, since the lineage has not their shape.

    Raises:
        NotebookError: names the first file that is not there.
    """
    left_out = {name: (folder / f"{name}.txt").read_text(encoding="utf-8").strip() for name in promised
                if (folder / f"{name}.txt").is_file()}
    files = [f"{name}.{kind}" for name in promised if name not in left_out for kind in ("pdf", "png", "json")]
    files += [f"data/{name}.csv" for name in tables] + ["manifest.json"]
    for name in files:
        if not (folder / name).is_file() or not (folder / name).stat().st_size:
            raise NotebookError(f"The notebooks ran, but {paths.relative(folder)}/{name} was not written.")
    present = {name: columns for name, columns in OF_A_SHAPE.items() if (folder / "data" / f"{name}.csv").is_file()}
    for name, columns in {**tables, **(present if tables else {})}.items():
        header, *rows = (folder / "data" / f"{name}.csv").read_text(encoding="utf-8").splitlines()
        if header != columns or not rows and (edges or name not in WITH_EDGES):
            raise NotebookError(f"The notebooks ran, but data/{name}.csv has {len(rows)} rows and columns "
                                f"{header}; it must have the columns {columns}.")
    for name in promised:
        if name not in saved:
            raise NotebookError(f"The notebooks ran, but none of them saved {name}: the file in "
                                f"{paths.relative(folder)}/ is of an earlier run.")
    return list(left_out.values())
