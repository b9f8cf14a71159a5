# ruff: noqa
# refused: unsupported type: Exception
def run(text: str) -> Exception:
    return ValueError(text)
