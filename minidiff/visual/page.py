"""An HTML page of its own: one file that loads nothing."""
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{css}</style>
</head>
<body>
{body}
</body>
</html>
"""


def html_page(title: str, css: str, body: str) -> str:
    """The whole page. title and body must be escaped already."""
    return PAGE.format(title=title, css=css, body=body)
