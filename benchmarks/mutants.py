"""Are the checks able to fail? Small mistakes are put into losses, metrics and splits, one at a
time, and each time the checks of the chapter and the tests of the module are run: a mutant that
passes them all has survived. Mutants are made by cosmic-ray and drawn with a seed; those that only
change an annotation are left out, since no program could tell them apart. Writes
``mutants.parquet`` after every mutant, and leaves out what is there.

    pip install cosmic-ray
    python benchmarks/mutants.py [mutants of each module]
"""

import ast
import contextlib
import difflib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

import pandas as pd

HERE = Path(__file__).resolve().parent
NAME, SECONDS, WORKERS = "mutants.parquet", 180, 2
MODULES = {  # chapter, and the tests that call the module
    "losses": ("10_losses", "tests/test_models.py"),
    "metrics": ("14_metrics", "tests/test_evaluation.py"),
    "splits": ("04_splits", "tests/test_data.py"),
}


def code_of(module: str) -> str:
    """A module as it is."""
    return (HERE.parent / "llmrec" / f"{module}.py").read_text(encoding="utf-8")


def run_chapter(module: str) -> None:
    """The cells of a chapter that are not exported, in the module that the others went to."""
    path = Path("nbs") / f"{MODULES[module][0]}.ipynb"
    os.chdir(path.parent)
    names = vars(import_module(f"llmrec.{module}"))
    for cell in json.loads(Path(path.name).read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        is_left_out = any(mark in source for mark in ("#| export", "#| slow", "#| default_exp"))
        if cell["cell_type"] == "code" and not is_left_out:
            exec(compile(source, path.name, "exec"), names)


def without_annotations(code: str) -> str:
    """What a program does, as text, whatever is written in annotations."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
    return ast.dump(tree)


def is_another(changed: str, original: str) -> bool:
    """Whether a mutant is a program, and another one."""
    try:
        return without_annotations(changed) != original
    except SyntaxError:
        return False


def mutants(module: str, n_mutants: int) -> dict[str, str]:
    """Names of mutants and their code, drawn from all."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator, operator_names

    code = code_of(module)
    nodes, places = list(ast_nodes(get_ast(code))), []
    for name in operator_names():
        with contextlib.suppress(TypeError):  # operators that want to be told a variable
            operator = get_operator(name)()
            n_places = sum(len(list(operator.mutation_positions(node))) for node in nodes)
            places += [(name, operator, occurrence) for occurrence in range(n_places)]
    random.Random(0).shuffle(places)
    original, found = without_annotations(code), {}
    for name, operator, occurrence in places:
        changed = mutate_code(code, operator, occurrence)
        if changed is not None and is_another(changed, original):
            found[f"{name.removeprefix('core/')} {occurrence}"] = changed
        if len(found) == n_mutants:
            break
    return found


def judge(module: str, code: str, folder: Path) -> str:
    """ "killed by chapter", "killed by tests", "killed by time" or "survived"."""
    (folder / "llmrec" / f"{module}.py").write_text(code, encoding="utf-8")
    places = {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    how = {"cwd": folder, "env": os.environ | places, "capture_output": True, "timeout": SECONDS}
    chapter = [sys.executable, str(HERE / "mutants.py"), "--chapter", module]
    tests = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    try:
        if subprocess.run(chapter, **how).returncode:
            return "killed by chapter"
        if subprocess.run([*tests, MODULES[module][1]], **how).returncode:
            return "killed by tests"
    except subprocess.TimeoutExpired:
        return "killed by time"
    return "survived"


def change(module: str, code: str) -> str:
    """The lines that a mutant changes."""
    lines = difflib.unified_diff(code_of(module).splitlines(), code.splitlines(), n=0, lineterm="")
    return "\n".join(line for line in lines if line[0] in "+-" and line[:3] not in ("+++", "---"))


def main(n_mutants: int) -> None:
    """Judge the mutants of every module that are not judged yet."""
    from run import save  # which imports much, and a chapter is run without it

    path = HERE / NAME
    rows = pd.read_parquet(path).to_dict("records") if path.exists() else []
    done = {(row["module"], row["mutant"]) for row in rows}
    plan = [
        (module, name, code)
        for module in MODULES
        for name, code in mutants(module, n_mutants).items()
        if (module, name) not in done
    ]
    random.Random(1).shuffle(plan)  # so that a run that is stopped has seen all modules

    def work(worker: int) -> None:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            for part in ("llmrec", "tests", "nbs", "settings.ini", "benchmarks"):
                source = HERE.parent / part
                (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / part)
            for module, name, code in plan[worker::WORKERS]:
                fate = judge(module, code, folder)
                (folder / "llmrec" / f"{module}.py").write_text(code_of(module), encoding="utf-8")
                what = {"module": module, "mutant": name, "change": change(module, code)}
                rows.append(what | {"fate": fate})
                save(pd.DataFrame(rows), NAME)
                print(module, name, fate, flush=True)

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(work, range(WORKERS)))


if __name__ == "__main__":
    if "--chapter" in sys.argv:
        with contextlib.redirect_stdout(io.StringIO()):
            run_chapter(sys.argv[-1])
    else:
        main(int(sys.argv[1]) if sys.argv[1:] else 70)
