"""Measure how many terms of a glossary are in the translations, and what the glossary costs or gains in BLEU.

    python -m benchmarks.glossary --data test.en test.de \\
        --model-dirs transformer/included/en-de transformer/included/de-en

Two glossaries for each direction. *From the references*: a word of the source and a word of the references, both of at
least 4 letters, are a term if they are in exactly the same lines of --data, at least 2, and no other word of the
references is in exactly these lines; equal words are ignored. *Another word*: `OTHER_WORDS`, which models rarely use
by themselves. Translates random lines with terms: without a glossary, with the search alone, and with the search and
the target terms in the source, which is what `transformer.translate` does. Writes benchmarks/results/glossary.json;
with --smoke-test, 10 lines of each glossary are translated and nothing is written.
"""

import random
import re
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any
from unittest import mock

from sacrebleu.metrics import BLEU

from benchmarks.runner import Tables, about_machine, command_line, new_result, save, table
from common.command import run_command
from common.text_input import read_all_lines
from evaluate.glossary import Glossary, has_term
from evaluate.translator import Translator

OTHER_WORDS = {
    "en": "car Karosse|house Gebäude|file Akte|picture Gemälde|friend Kumpel|doctor Mediziner|city Metropole|"
    "letter Schreiben|money Bargeld|problem Schwierigkeit|book Schmöker|document Schriftstück|window Luke|"
    "train Eisenbahn|dog Köter",
    "de": "Auto vehicle|Haus building|Datei dossier|Bild painting|Freund buddy|Arzt physician|Stadt metropolis|"
    "Brief epistle|Geld cash|Problem difficulty|Buch tome|Dokument paper|Fenster porthole|Zug locomotive|Hund hound",
}
"""A source word and a target word for each term, by source language."""
LEAST_LETTERS = 4
BOTH = "search and terms in the source"


def main() -> None:
    """Measure each model and save the result."""
    parser = command_line(__doc__)
    parser.add_argument("--data", nargs=2, type=Path, metavar="FILE", help="two files, such as test.en and test.de")
    parser.add_argument("--model-dirs", nargs="+", type=Path, metavar="FOLDER", help="English and German models")
    parser.add_argument("--lines", type=int, default=300, help="lines of each glossary to translate (default: 300)")
    args = parser.parse_args()
    if not (args.data and args.model_dirs):
        parser.error("give --data and --model-dirs")
    texts = {file.name.removesuffix(".gz").rsplit(".", 1)[-1]: read_all_lines(file) for file in args.data}
    most = 10 if args.smoke_test else args.lines
    rows = []
    for folder in args.model_dirs:
        translator = Translator.from_pretrained(folder, compute_type="auto")
        source, target = translator.source_lang, translator.target_lang
        pairs = list(zip(texts[source], texts[target], strict=True))
        words = [tuple(pair.split(" ")) for pair in OTHER_WORDS[source].split("|")]
        for name, terms in (("from the references", terms_of(pairs)), ("another word", words)):
            rows.append(measure(translator, name, Glossary.open(terms), pairs, most))  # type: ignore[arg-type]
    result = new_result(rows=rows)
    save("glossary", result, make_tables(result), smoke_test=args.smoke_test)


def terms_of(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the terms of sentences and their references."""
    sources, targets = (lines_by_word([pair[side] for pair in pairs]) for side in (0, 1))
    words_by_lines: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for word, lines in targets.items():
        words_by_lines[lines].append(word)
    terms = []
    for word, lines in sources.items():
        found = words_by_lines.get(lines, [])
        if len(lines) >= 2 and len(found) == 1 and found[0].lower() != word.lower():
            terms.append((word, found[0]))
    return sorted(terms)


def lines_by_word(lines: list[str]) -> dict[str, tuple[int, ...]]:
    """Return the numbers of the lines in which each word is."""
    found: dict[str, dict[int, None]] = defaultdict(dict)
    for number, line in enumerate(lines):
        for word in re.findall(r"[^\W\d_]+", line):
            if len(word) >= LEAST_LETTERS:
                found[word][number] = None
    return {word: tuple(numbers) for word, numbers in found.items()}


def measure(
    translator: Translator, name: str, glossary: Glossary, pairs: list[tuple[str, str]], most: int
) -> dict[str, Any]:
    """Return the figures of one glossary."""
    pairs = [pair for pair in pairs if glossary.find(pair[0])]
    pairs = random.Random(0).sample(pairs, min(most, len(pairs)))
    lines, references = [source for source, _ in pairs], [reference for _, reference in pairs]
    own = translator.with_glossary(glossary)
    with mock.patch.object(Glossary, "replace", lambda self, text, targets: text):
        search = translate(own, lines)
    found = {
        "no glossary": translate(translator, lines),
        "search": search,
        BOTH: translate(own, lines),
    }
    wanted = Counter((line, term) for line in lines for term in glossary.find(line))
    lost = [(line, output) for line, output in zip(lines, found[BOTH][0], strict=True) if glossary.lost(line, output)]
    return {
        "direction": f"{translator.source_lang} to {translator.target_lang}",
        "glossary": name,
        "terms": len(glossary.pairs),
        "lines": len(lines),
        "wanted": wanted.total(),
        "found": {
            method: {
                "enforced": sum(
                    has_term(output, term)
                    for line, output in zip(lines, outputs, strict=True)
                    for term in glossary.find(line)
                ),
                "bleu": BLEU().corpus_score(outputs, [references]).score,
                "seconds": seconds,
                "outputs": outputs[:10],
            }
            for method, (outputs, seconds) in found.items()
        },
        "sources": lines[:10],
        "lost": lost,
    }


def translate(translator: Translator, lines: list[str]) -> tuple[list[str], float]:
    """Return translations and the CPU seconds that they took."""
    started = time.process_time()
    outputs = [found[0].text for found in translator.translate(lines, note=lambda _: None)]
    return outputs, time.process_time() - started


def make_tables(result: dict[str, Any]) -> Tables:
    """Return a table of directions, glossaries and methods."""
    headings = ["direction", "glossary", "method", "terms in the translations", "BLEU", "CPU seconds"]
    rows = [
        [
            row["direction"],
            f"{row['glossary']}, {row['terms']} terms",
            method,
            f"{found['enforced']} of {row['wanted']} ({found['enforced'] / row['wanted']:.1%})",
            f"{found['bleu']:.1f}",
            f"{found['seconds']:.0f}",
        ]
        for row in result["rows"]
        for method, found in row["found"].items()
    ]
    lines = ", ".join(f"{row['lines']} ({row['direction']}, {row['glossary']})" for row in result["rows"])
    return {"glossary": [table(headings, rows, f"Lines with terms: {lines}. {about_machine(result)}.")]}


if __name__ == "__main__":
    run_command(main)
