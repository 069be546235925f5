"""`make articles` and `make article-NN`: texts whose code, outputs and numbers cannot go stale.

parser       Markdown -> directives, blocks, prose
directives   what each directive produces (code through `source`, runs through `commands`, numbers through `values`)
statistic    one statistic per comparison
prose        numbers in sentences; skeleton: the parts of an article
filling      fills and checks all documents
render       an article in the terminal
"""

from .filling import check, documents, fill
from .parser import Document, Problem, read

__all__ = ["Document", "Problem", "check", "documents", "fill", "read"]
