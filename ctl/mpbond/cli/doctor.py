from mpbond.cli.options import JsonOption, RunDirOption
def doctor(as_json: JsonOption = False, run_dir: RunDirOption = None) -> None:
    """stub"""
