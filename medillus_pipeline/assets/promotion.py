"""`promoted_generator`: the alias `champion`, moved only when every gate of the report on that very version passed."""

import dagster as dg

from medillus_pipeline import published
from medillus_pipeline.assets.validation import validation_report
from medillus_pipeline.errors import GateError
from medillus_pipeline.failures import RETRY, failing_clearly
from medillus_pipeline.resources.mlflow import MLflowResource
from medillus_pipeline.resources.store import StoreResource


@dg.asset(
    deps=[validation_report],
    group_name="promotion",
    owners=["team:machine-learning"],
    kinds={"mlflow"},
    code_version="1",
    retry_policy=RETRY,
    pool="promotion",
)
def promoted_generator(
    context: dg.AssetExecutionContext, store: StoreResource, mlflow: MLflowResource
) -> dg.MaterializeResult:
    """The registry version that figures are made with. Refused, with the list of what is missing, unless every gate
    passed on the newest version and the profile's approvals are there. The former champion is kept as `previous`.
    """
    from medillus_pipeline.validation import gates

    with failing_clearly():
        report = published.require(store.clean, "validation_report")
        checkpoint = published.require(store.clean, "generator_checkpoint")
        missing = []
        if report["version"] != checkpoint["version"]:
            missing.append(
                f"the report is about version {report['version']}, the newest is {checkpoint['version']}: "
                "materialize validation_report"
            )
        if report["gates_sha256"] != gates.fingerprint():
            missing.append("the report was made under other gates: materialize validation_report")
        if report["profile"] != store.profile:
            missing.append(
                f"the report holds the figures against profile {report['profile']}, this installation's is "
                f"{store.profile}: materialize validation_report"
            )
        if report["status"] != "passed":
            missing.append(f"{report['sentence']} Gates not passed: {', '.join(report['failed_gates'])}")
        if report["required_approvals"]:
            missing.append(
                f"profile {report['profile']} asks for {report['required_approvals']} human approvals, and this "
                "release has no asset that records them; only profile demo promotes by its gates alone"
            )
        if missing:
            raise GateError("not promoted; the champion, if any, stays as it is. " + " | ".join(missing))
        context.log.info(report["review_statement"])
        version = report["version"]
        former = mlflow.promote(
            version,
            {
                "promoted_by_run": context.run_id,
                "gates": report["sentence"],
                "dataset_fingerprint": report["dataset_fingerprint"],
            },
        )
        published.publish(
            store.clean,
            "promoted_generator",
            {
                "version": version,
                "dataset_fingerprint": checkpoint["dataset_fingerprint"],
                "dataset_manifest": checkpoint["dataset_manifest"],
                "run_id": checkpoint["run_id"],
                "report": report["html"],
            },
        )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(f"{mlflow.model}:{version}"),
        metadata={
            "version": dg.MetadataValue.url(mlflow.version_url(version)),
            "alias": "champion",
            "former_champion": former or "none",
            "human_review": report["review_statement"],
        },
    )
