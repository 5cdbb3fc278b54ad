"""`make alerts-check`: replay figures to the alerts, and see which fire."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from deploy.local.suite import ROOT

MONITORING = ROOT / "deploy" / "k8s" / "components" / "monitoring"


def main() -> int:
    """Return what promtool does."""
    promtool = shutil.which("promtool")
    if promtool is None:
        print("alerts-check was skipped: promtool, of Prometheus, is not here.")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        resource = yaml.safe_load((MONITORING / "rules.yaml").read_text())
        for group in resource["spec"]["groups"]:
            for rule in group["rules"]:
                rule.pop("annotations", None)  # words, which the figures don't decide
        Path(folder, "rules.yaml").write_text(yaml.safe_dump(resource["spec"]))
        test = Path(folder, "alerts-test.yaml")
        test.write_text((MONITORING / test.name).read_text())
        return subprocess.run([promtool, "test", "rules", str(test)], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
