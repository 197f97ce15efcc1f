def arrange() -> str:
    return ""
