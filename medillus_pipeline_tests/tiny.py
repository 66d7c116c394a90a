"""Run configs that make every stage real and small.

Nothing of the product is imported here, so that they can be at hand before its jobs are defined.
"""

from typing import Any

TINY: dict[str, dict[str, Any]] = {
    "retrain": {
        "ops": {
            **{
                name: {"config": {"preset": "tiny"}}
                for name in ("training_dataset", "judge", "organ_segmenter", "generator_checkpoint")
            },
            "validation_report": {
                "config": {"slices": 8, "samples": 2, "training_masks": 16, "edited_masks": 4, "student_steps": 5}
            },
        }
    },
    "promote": {"ops": {"illustrations": {"config": {"figures": 2}}}},
}
"""Run configs that make every stage real and small; such a model is of no use, so its gates are lowered with it."""
