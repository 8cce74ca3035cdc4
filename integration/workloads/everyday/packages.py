"""Package managers: npm from a registry of the test's own, pip from wheels of the test's own."""

from __future__ import annotations

from integration.workloads.everyday.chore import Chore
from integration.workloads.material import REGISTRY_PORT

CHORES = (
    Chore(
        "npm",
        f"""
python3 -m http.server --bind 127.0.0.1 --directory $MATERIAL/registry {REGISTRY_PORT} >/dev/null 2>&1 &
server=$!; trap 'kill $server' EXIT
until (exec 3<>/dev/tcp/127.0.0.1/{REGISTRY_PORT}) 2>/dev/null; do sleep 0.1; done
export npm_config_registry=http://127.0.0.1:{REGISTRY_PORT}/ npm_config_cache=$PWD/cache npm_config_audit=false
export npm_config_fund=false npm_config_update_notifier=false npm_config_logs_max=0 npm_config_progress=false
mkdir project; cd project; echo '{{"name":"project","version":"1.0.0","private":true}}' >package.json
npm install --silent lab-package-0
node_modules/.bin/lab-0; readlink node_modules/.bin/lab-0; node_modules/.bin/lab-4-again
npm ls --all | wc -l
rm -rf node_modules; npm ci --silent --offline; node_modules/.bin/lab-7; npm uninstall --silent lab-package-0
ls -A node_modules | grep -v package-lock || true; npm install --silent --offline lab-package-3; npm ls
npm pack --silent >/dev/null; ls *.tgz; npm install --silent -g --prefix $PWD/global lab-package-5; global/bin/lab-5
""",
        # The cache's index and the packed archive are stamped with now.
        volatile=("cache/*", "*.tgz"),
    ),
    Chore(
        "pip",
        """
export PYTHONDONTWRITEBYTECODE=1 SOURCE_DATE_EPOCH=1500000000 PIP_NO_INDEX=1 PIP_DISABLE_PIP_VERSION_CHECK=1
export PIP_FIND_LINKS=$MATERIAL/wheels PIP_CACHE_DIR=$PWD/pip-cache PIP_QUIET=1 PYTHONUSERBASE=$PWD/user
/usr/bin/python3 -m venv --without-pip --system-site-packages bare; bare/bin/python -c 'import sys; print(sys.prefix)'
/usr/bin/python3 -m venv ve; ve/bin/pip install labthree; ve/bin/labthree; ve/bin/labone.sh
ve/bin/python -c 'import labtwo.part5.module29 as m; print(m.value, m.__file__)'
ve/bin/pip install --force-reinstall --no-deps labone; ve/bin/pip uninstall -y labtwo; ve/bin/pip list --format freeze
ve/bin/pip install --target target labtwo; ls target; ve/bin/pip check || true
ve/bin/python -m compileall -q target; ln -s ve linked; linked/bin/python -c 'import labone; labone.main()'
bare/bin/python ve/lib/python3*/site-packages/pip/__pip-runner__.py install --user labtwo; user/bin/labtwo
""",
        # Bytecode is stamped with its source's time, and with the hash only where SOURCE_DATE_EPOCH is obeyed.
        volatile=("*.pyc",),
    ),
)
