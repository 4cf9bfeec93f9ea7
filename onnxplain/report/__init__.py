"""The HTML report: folders of explanations become one page that opens from disk. page/: template, style, scripts."""
