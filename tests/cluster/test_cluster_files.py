"""The files under `cluster/`: Ray takes them, a stand-in for AWS does what they say, and the project's rules hold."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml

from cluster_head import ROOT

FOLDER = ROOT / "cluster"
CLOUDS = ["aws", "gcp", "azure"]
RAY_UP = [*CLOUDS, "onprem"]
EVERYTHING = sorted(path.name for path in FOLDER.iterdir())
RAY = re.search(r"^ray==(\S+) ", (ROOT / "requirements.lock").read_text(), re.MULTILINE)[1]

SPOT = {
    "aws": ("InstanceMarketOptions", "MarketType"),
    "gcp": ("scheduling", "provisioningModel"),
    "azure": ("azure_arm_parameters", "priority"),
}
"""Keys under which a worker's configuration says that it is a spot machine."""

# What KubeRay 1.6's custom resources are made of, as far as it is used here: what must be there, and what may.
CLUSTER_FORM = (
    {"headGroupSpec"},
    {"rayVersion", "authOptions", "enableInTreeAutoscaling", "autoscalerOptions", "workerGroupSpecs"},
)
GROUP_FORMS = {
    "head": ({"template"}, {"rayStartParams", "serviceType"}),
    "worker": ({"template", "groupName", "minReplicas", "maxReplicas"}, {"rayStartParams", "replicas"}),
}
JOB_FORM = ({"entrypoint", "clusterSelector"}, {"runtimeEnvYAML", "submissionMode", "backoffLimit"})


def load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    return loaded


def kuberay() -> dict[str, dict[str, Any]]:
    """The documents by their kind."""
    documents = list(yaml.safe_load_all((FOLDER / "kuberay.yaml").read_text()))
    return {document["kind"]: document for document in documents}


def pods() -> dict[str, dict[str, Any]]:
    """Specification of each pod in Kubernetes."""
    cluster = kuberay()["RayCluster"]["spec"]
    workers = {group["groupName"]: group["template"]["spec"] for group in cluster["workerGroupSpecs"]}
    return {"head": cluster["headGroupSpec"]["template"]["spec"], **workers}


def setup(config: dict[str, Any]) -> list[str]:
    return config["setup_commands"] + config.get("head_setup_commands", []) + config.get("worker_setup_commands", [])


def starts(config: dict[str, Any]) -> list[str]:
    return [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]


def code(name: str) -> str:
    """A file's text without its comments."""
    return re.sub(r"(^|\s)#(?!SBATCH).*", "", (FOLDER / name).read_text())


@pytest.mark.parametrize("name", RAY_UP)
def test_ray_takes_the_file_and_the_shell_its_commands(name):
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(load(name))
    validate_config(config)
    for command in [*setup(load(name)), *starts(load(name))]:
        subprocess.run(["bash", "-n", "-c", command], check=True)


@pytest.mark.parametrize("name", RAY_UP)
def test_a_cluster_asks_for_the_token_and_sends_no_statistics(name):
    config = load(name)
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert setup(config)[0] == "chmod 600 ~/.ray/auth_token"
    begun = [command for command in starts(config) if "ray start" in command]
    assert len(begun) == 2
    for command in begun:
        exported = command.partition("ray start")[0].partition("export ")[2].split()
        assert {"RAY_AUTH_MODE=token", "RAY_USAGE_STATS_ENABLED=0"} <= set(exported)


def test_pods_and_slurm_nodes_ask_for_the_token_and_send_no_statistics():
    assert kuberay()["RayCluster"]["spec"]["authOptions"] == {"mode": "token", "secretName": "metaseg-token"}
    for pod in pods().values():
        for container in pod["containers"]:
            assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in container["env"]
    before, _, after = code("slurm.sbatch").partition("ray start")
    assert after
    assert "export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0" in before
    assert before.index("umask 077") < before.index("ray get-auth-token --generate >/dev/null")
    assert "chmod 600 ~/.ray/auth_token" in before


@pytest.mark.parametrize("name", RAY_UP)
def test_versions_are_the_lock_files(name):
    commands = setup(load(name))
    assert "cd ~/metaseg && make .venv/installed" in commands
    for command in commands:
        words = shlex.split(command)
        if "install" in words and words[words.index("install") - 1].endswith("pip"):
            packages = [word for word in words[words.index("install") + 1 :] if not word.startswith("-")]
            assert packages
            assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+", package) for package in packages)


def test_the_image_is_the_lock_files_ray_and_more_of_it():
    assert kuberay()["RayCluster"]["spec"]["rayVersion"] == RAY
    image = (FOLDER / "Dockerfile").read_text()
    assert f"FROM rayproject/ray:{RAY}-py311\n" in image
    assert "--require-hashes --requirement requirements.lock" in image
    assert "requirements-test.lock" not in image
    for copied in re.findall(r"^COPY --chown=ray (.*) \S+$", image, re.MULTILINE):
        assert all((ROOT / path).exists() for path in copied.split())


@pytest.mark.parametrize("name", CLOUDS)
def test_gpus_come_with_spot_workers_only_and_these_from_zero(name):
    types = dict(load(name)["available_node_types"])
    assert "METASEG_AUTOSCALER=1" in load(name)["head_start_ray_commands"][-1], "else a study gives up at once"
    head = types.pop(load(name)["head_node_type"])
    assert head["resources"] == {"CPU": 0}
    assert types
    for worker in types.values():
        assert worker["min_workers"] == 0
        assert worker["resources"]["GPU"] == 1
        value = worker["node_config"]
        for key in SPOT[name]:
            value = value[key]
        assert value.lower() == "spot"


def test_gpus_come_with_spot_pods_only_and_these_from_zero():
    head, *workers = pods().values()
    assert "nvidia.com/gpu" not in json.dumps(head)
    assert {"name": "METASEG_AUTOSCALER", "value": "1"} in head["containers"][0]["env"]
    for group, pod in zip(kuberay()["RayCluster"]["spec"]["workerGroupSpecs"], workers, strict=True):
        assert group["minReplicas"] == group["replicas"] == 0
        assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
        assert "spot" in json.dumps(pod["nodeSelector"])


@pytest.mark.parametrize("name", EVERYTHING)
def test_nothing_is_open_to_all_the_world(name):
    text = code(name)
    assert not re.search(r"0\.0\.0\.0|::/0", text)
    assert not re.search(r"--dashboard-host|LoadBalancer|NodePort|kind: Ingress|hostNetwork|hostPort", text)


@pytest.mark.parametrize("name", EVERYTHING)
def test_no_file_holds_a_secret(name):
    text = (FOLDER / name).read_text()
    assert not re.search(r"AKIA|PRIVATE KEY|AccountKey|password", text, re.IGNORECASE)
    assert not re.search(r"\b(?=\w*\d)[A-Za-z0-9+=]{32,}\b", text), "a long random word"


def test_the_store_is_where_every_node_sees_it():
    stores = {}
    for name in RAY_UP:
        begun = " ".join(load(name)["head_start_ray_commands"])
        stores[name] = re.search(r"METASEG_STORE=(\S+)", begun)[1].split("FILL-IN")[0]
    assert stores == {"aws": "s3://", "gcp": "gs://", **dict.fromkeys(("azure", "onprem"), "/shared/metaseg-store")}
    assert any("mountpoint -q /shared || sudo mount -t nfs" in command for command in load("azure")["setup_commands"])

    claim = kuberay()["PersistentVolumeClaim"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for pod in pods().values():
        assert {"name": "shared", "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}} in pod["volumes"]
        for container in pod["containers"]:
            assert {"name": "shared", "mountPath": "/shared"} in container["volumeMounts"]
            assert {"name": "METASEG_STORE", "value": "/shared/metaseg-store"} in container["env"]


def test_azure_gets_no_parameter_that_rays_template_lacks():
    import ray.autoscaler._private as autoscaler

    template = json.loads((Path(autoscaler.__path__[0]) / "_azure" / "azure-vm-template.json").read_text())
    for node_type in load("azure")["available_node_types"].values():
        assert set(node_type["node_config"]["azure_arm_parameters"]) < set(template["parameters"])


def test_kubernetes_documents_have_kuberays_form():
    documents = kuberay()
    assert {document["apiVersion"] for kind, document in documents.items() if kind.startswith("Ray")} == {"ray.io/v1"}
    cluster, job = documents["RayCluster"], documents["RayJob"]
    assert job["spec"]["clusterSelector"] == {"ray.io/cluster": cluster["metadata"]["name"]}
    groups = [("head", cluster["spec"]["headGroupSpec"])]
    groups += [("worker", group) for group in cluster["spec"]["workerGroupSpecs"]]
    checked = [(cluster["spec"], CLUSTER_FORM), (job["spec"], JOB_FORM)]
    for given, (required, optional) in [*checked, *((group, GROUP_FORMS[kind]) for kind, group in groups)]:
        assert required <= set(given) <= required | optional
    for _, group in groups:
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        for container in group["template"]["spec"]["containers"]:
            volumes = {volume["name"] for volume in group["template"]["spec"]["volumes"]}
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes
            assert all(isinstance(variable["value"], str) for variable in container["env"])


def test_the_page_tells_of_every_file():
    page = (ROOT / "docs" / "how-to" / "clusters.md").read_text()
    assert not [name for name in EVERYTHING if f"cluster/{name}" not in page]


@pytest.fixture
def aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """An AWS account of moto's in which the stack of `aws_account.yaml` has been made; yields the filled-in file."""
    boto3, moto = pytest.importorskip("boto3"), pytest.importorskip("moto")
    from ray.autoscaler._private.aws.utils import resource_cache

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "nobody")
    monkeypatch.setenv("HOME", str(tmp_path))  # Ray keeps the key there that it makes
    config = load("aws")
    region = config["provider"]["region"]
    with moto.mock_aws(), mock.patch("time.sleep"):
        resource_cache.cache_clear()
        stacks = boto3.client("cloudformation", region)
        parameters = {"Bucket": "a-bucket", "Address": "203.0.113.7/32"}
        stacks.create_stack(
            StackName="metaseg",
            TemplateBody=(FOLDER / "aws_account.yaml").read_text(),
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        [output] = stacks.describe_stacks(StackName="metaseg")["Stacks"][0]["Outputs"]
        for node_type in config["available_node_types"].values():
            node_type["node_config"]["SecurityGroupIds"] = [output["OutputValue"]]
        yield config
    resource_cache.cache_clear()


def test_rays_provider_makes_and_ends_what_the_aws_file_describes(aws):
    import boto3
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
    from ray.autoscaler._private.util import prepare_config, validate_config
    from ray.autoscaler.tags import TAG_RAY_LAUNCH_CONFIG, TAG_RAY_NODE_KIND, TAG_RAY_NODE_NAME

    config = AWSNodeProvider.fillout_available_node_types_resources(prepare_config(aws))
    validate_config(config)
    config = AWSNodeProvider.bootstrap_config(config)
    types = config["available_node_types"]
    # What AWS knows of these types of instances is what the file claims.
    assert (types["gpu"]["resources"]["GPU"], types["head"]["resources"].get("GPU", 0)) == (1, 0)

    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    nodes = {}
    for name, kind in (("head", "head"), ("gpu", "worker")):
        tags = {TAG_RAY_NODE_KIND: kind, TAG_RAY_NODE_NAME: name, TAG_RAY_LAUNCH_CONFIG: ""}
        [nodes[name]] = provider.create_node(types[name]["node_config"], tags, 1).values()
    assert {name: node.instance_lifecycle for name, node in nodes.items()} == {"head": None, "gpu": "spot"}
    profiles = {name: node.iam_instance_profile["Arn"].rpartition("/")[2] for name, node in nodes.items()}
    assert profiles == {"head": "metaseg-head", "gpu": "metaseg-worker"}

    [used] = {group["GroupId"] for node in nodes.values() for group in node.security_groups}
    ec2 = boto3.client("ec2", config["provider"]["region"])
    rules = {group["GroupId"]: group["IpPermissions"] for group in ec2.describe_security_groups()["SecurityGroups"]}
    outside = [rule for group in rules.values() for rule in group if rule["IpRanges"] or rule["Ipv6Ranges"]]
    assert [(rule["FromPort"], rule["ToPort"], rule["IpRanges"]) for rule in outside] == [
        (22, 22, [{"CidrIp": "203.0.113.7/32"}])
    ]
    inside = [rule["UserIdGroupPairs"][0]["GroupId"] for rule in rules[used] if rule["UserIdGroupPairs"]]
    assert inside == [used]

    assert len(provider.non_terminated_nodes({})) == 2
    provider.terminate_nodes([node.id for node in nodes.values()])
    assert not provider.non_terminated_nodes({})


def test_the_aws_account_lets_in_no_large_network():
    pattern = load("aws_account")["Parameters"]["Address"]["AllowedPattern"]
    assert re.fullmatch(pattern, "203.0.113.7/32")
    assert not re.fullmatch(pattern, "0.0.0.0/0")
