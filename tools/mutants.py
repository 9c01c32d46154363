"""Put small mistakes into the modules behind docs/GUARANTEES.md, one at a time, and print those that no test notices.

    python tools/mutants.py [--sample 200] [--jobs 2] [--only safety]

cosmic-ray makes the mistakes and keeps what came of each, so that a run that was stopped goes on where it was. Each
mistake is made in a copy of the repository (.mutants/), and the tests of its own module run, nothing else. The sample
is the same each time for the same code. Mistakes that change nothing are named in tools/mutants_equal.txt.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".mutants"
EQUAL = Path(__file__).with_name("mutants_equal.txt")
TIMEOUT_S = 180
# The modules behind the promises, and the tests of each that run quickest for what they notice.
TESTS = {
    "archives/safety.py": "tests/archives/test_safety.py tests/archives/test_hostile.py",
    "archives/write.py": "tests/archives/test_write.py tests/archives/test_extract.py tests/archives/test_safety.py",
    "archives/zip_directory.py": "tests/archives/test_zip_directory.py tests/archives/test_hostile.py",
    "archives/zip_plan.py": "tests/archives/test_zip_plan.py tests/archives/test_hostile.py",
    "archives/tar.py": "tests/archives/test_tar.py tests/archives/test_hostile.py",
    "transfer/block_map.py": "tests/transfer/test_block_map.py tests/transfer/test_partial.py",
    "transfer/partial.py": "tests/transfer/test_partial.py tests/transfer/test_prefetch.py",
    "lock.py": "tests/test_lock.py",
    "store.py": "tests/test_store.py tests/test_staging.py tests/test_trust.py",
    "additions.py": "tests/test_additions.py",
    "staged.py": "tests/test_staged.py tests/test_store.py tests/test_trust.py",
    "cleanup.py": "tests/test_cleanup.py tests/test_store.py tests/test_trust.py",
    "own_files.py": "tests/test_own_files.py tests/test_trust.py tests/test_store.py tests/test_saved_copy.py",
    "repair.py": "tests/test_repair.py tests/test_trust.py tests/wholeness/test_flipped_bits.py"
    " tests/test_course.py::test_a_repair_without_the_catalog_says_which_variable_names_it",
    "links.py": "tests/test_store.py tests/test_trust.py",
    "redact.py": "tests/test_redact.py",
    "datasets/pickles.py": "tests/datasets/test_pickles.py",
    "layouts/label_column.py": "tests/layouts",
    "layouts/shape.py": "tests/layouts tests/batches/test_photos.py",
    "batches/ranks.py": "tests/batches/test_ranks.py tests/batches/test_loader.py",
    "batches/arrays.py": "tests/batches/test_arrays.py tests/batches/test_loader.py tests/batches/test_targets.py"
    " tests/batches/test_cuda.py",
}
# Annotations and arithmetic on sizes of buffers change nothing that a promise speaks of.
OPERATORS = (
    *("ReplaceComparisonOperator", "AddNot", "ReplaceAndWithOr", "ReplaceOrWithAnd", "ReplaceTrueWithFalse"),
    *("ReplaceFalseWithTrue", "ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ReplaceUnaryOperator"),
    *("ExceptionReplacer", "ReplaceBinaryOperator_Add_Sub", "ReplaceBinaryOperator_Sub_Add", "NumberReplacer"),
)


def cosmic(tree, *words):
    """Run one verb of cosmic-ray in a copy of the repository."""
    command = [sys.executable, "-m", "cosmic_ray.cli", *words]
    return subprocess.run(command, cwd=tree, env=environment(tree), check=True, capture_output=True, text=True).stdout


def environment(tree):
    # What a test starts as a process of its own must import the copy, too.
    return {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}


def copy_of_the_repository(tree):
    """Make or refresh the copy, from the files that git tracks and those it would."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True).stdout.decode().split("\0")
    shutil.rmtree(tree, ignore_errors=True)
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)


def session_of(tree, module):
    """Return the session of a module for its present text, with every mistake that can be made; begin it if need be."""
    digest = hashlib.sha256((tree / "datastage" / module).read_bytes()).hexdigest()[:12]
    name = module.removesuffix(".py").replace("/", "-")
    config, session = WORK / f"{name}-{digest}.toml", WORK / f"{name}-{digest}.sqlite"
    command = (
        f"{sys.executable} -m pytest -x -q -p no:randomly --timeout {TIMEOUT_S // 2} -m 'not slow' {TESTS[module]}"
    )
    config.write_text(
        f"[cosmic-ray]\nmodule-path = {json.dumps('datastage/' + module)}\ntimeout = {TIMEOUT_S}.0\n"
        f"excluded-modules = []\ntest-command = {json.dumps(command)}\n[cosmic-ray.distributor]\nname = 'local'\n"
    )
    if not session.exists():
        cosmic(tree, "init", str(config), str(session))
        with sqlite3.connect(session) as rows:
            wanted = " OR ".join(f"operator_name LIKE 'core/{name}%'" for name in OPERATORS)
            # Numbers outside functions are limits and sizes: another one is no mistake. Whether equal numbers or texts
            # are one object is up to the interpreter.
            rows.execute(
                "DELETE FROM mutation_specs WHERE NOT (" + wanted + ") OR operator_name GLOB '*Operator_[^I]*_Is*' OR"
                " (operator_name = 'core/NumberReplacer' AND definition_name IS NULL)"
            )
            rows.execute("DELETE FROM work_items WHERE job_id NOT IN (SELECT job_id FROM mutation_specs)")
    return config, session


def keep_sample(sessions, size):
    """Leave a fixed sample in the sessions: the same for the same code, spread over modules by how much is in each."""
    order = "SELECT job_id, operator_name, occurrence FROM mutation_specs ORDER BY operator_name, occurrence"
    found = []
    for config, session in sessions:
        with sqlite3.connect(session) as rows:
            found += [(config, session, job) for job, _, _ in rows.execute(order).fetchall()]
    kept = {(str(session), job) for _, session, job in random.Random(1).sample(found, min(size, len(found)))}
    for _, session in sessions:
        with sqlite3.connect(session) as rows:
            for (job,) in rows.execute("SELECT job_id FROM work_items").fetchall():
                if (str(session), job) not in kept:
                    rows.execute("DELETE FROM mutation_specs WHERE job_id = ?", (job,))
                    rows.execute("DELETE FROM work_items WHERE job_id = ?", (job,))


def results(session):
    """Give what came of each mistake: its module, whether it was noticed, and its difference."""
    with sqlite3.connect(session) as rows:
        query = (
            "SELECT module_path, test_outcome, diff FROM work_results JOIN mutation_specs"
            " ON work_results.job_id = mutation_specs.job_id"
        )
        yield from rows.execute(query).fetchall()


def changed_lines(diff):
    """Return what a difference takes out and puts in, as one line."""
    lines = [line for line in diff.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    return "  ->  ".join(line[1:].strip() for line in lines)


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--sample", type=int, default=200)
    options.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options.add_argument("--only", default="", help="modules whose name holds this")
    options = options.parse_args()
    WORK.mkdir(exist_ok=True)
    trees = [WORK / f"tree{n}" for n in range(options.jobs)]
    for tree in trees:
        copy_of_the_repository(tree)
    modules = [module for module in TESTS if options.only in module]
    sessions = [session_of(trees[0], module) for module in modules]
    if not (WORK / "sampled").exists() or (WORK / "sampled").read_text() != "".join(map(str, sessions)):
        keep_sample(sessions, options.sample)
        (WORK / "sampled").write_text("".join(map(str, sessions)))

    def work(n):
        for config, session in sessions[n :: options.jobs]:
            cosmic(trees[n], "exec", str(config), str(session))

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(work, range(options.jobs)))
    equal = set(EQUAL.read_text("utf-8").splitlines()) if EQUAL.exists() else set()
    noticed, unnoticed, nothing = 0, [], 0
    for _, session in sessions:
        for module, outcome, diff in results(session):
            line = f"{module}: {changed_lines(diff)}"
            if "SURVIVED" not in str(outcome).upper():
                noticed += 1
            elif line in equal:
                nothing += 1
            else:
                unnoticed.append(line)
    print(*unnoticed, sep="\n")
    total = noticed + len(unnoticed)
    print(f"{noticed} of {total} noticed ({noticed / max(1, total):.0%}); {nothing} more change nothing")
    return 0 if noticed >= 0.85 * total else 1


if __name__ == "__main__":
    sys.exit(main())
