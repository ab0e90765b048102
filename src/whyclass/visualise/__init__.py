"""Pictures by optimisation: what a direction of a layer would itself draw (paper, appendix B)."""
