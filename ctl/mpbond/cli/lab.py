import typer
app = typer.Typer()
@app.command()
def run(x: str) -> None:
    """stub"""
@app.command()
def up(x: str) -> None:
    """stub"""
