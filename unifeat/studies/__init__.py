"""Studies: from a run to tables, one module per question.

Start with `persistence.persistence(run)`: which features persist along every edge, beside ceiling, null and interval.
`ladder`, `feature_flow`, `case_studies`, `pair_agreement`, `sae_transfer`, `ablation`, `substitution`, `functional`,
`weight_matching`, `controls` and `sae_recipes` ask the other questions; `baselines` are the nulls they share.
"""
