"""Measure how many protected spans come out unchanged, and what protection costs or gains in chrF2.

    python -m benchmarks.protection --data valid.en valid.de \\
        --model-dirs transformer/included/en-de transformer/included/de-en

Translates the sentences of benchmarks/sentences and evaluate/sentences that have spans: as the model does, in the parts
between the spans, and with stand-ins and alignment, which is what `transformer.translate` does. Translates 200
sentences with a placeholder, address, number, code or tag: 160 made of 10 frames and 16 spans, and the 40 of
benchmarks/sentences/protected; a span is kept if its text is in the translation once, and a number if its digits are.
Translates the HTML documents of benchmarks/sentences with the first model, and their translations with the next one.
Translates the lines of --data that have digits, with and without protection. Writes benchmarks/results/protection.json;
with --smoke-test, 5 sentences of each kind are translated and nothing is written.
"""

import re
import time
from pathlib import Path
from typing import Any

from sacrebleu.metrics import BLEU, CHRF

from benchmarks.markup import names_in_place, problems, read_documents
from benchmarks.runner import ROOT, Tables, about_machine, command_line, new_result, save, table
from common.command import run_command
from common.text_input import read_all_lines
from evaluate.documents import translate_document
from evaluate.segmentation import protection
from evaluate.segmentation.numbers import lost_numbers
from evaluate.segmentation.placeholders import mask
from evaluate.segmentation.protection import is_kept
from evaluate.test_sets import SENTENCES
from evaluate.translator import Translator

TEXTS = (ROOT / "benchmarks/sentences/protected", SENTENCES / "everyday")
FRAMES = {
    "en": "Open #.|The file # was not found.|# has sent you a letter.|I do not know #.|Did you see # yesterday?|"
    "If # is empty, the program ends.|Write the name of # here.|My brother lives near #.|Hello #, how are you?|"
    "Please give me # and the book.",
    "de": "Öffnen Sie #.|Die Datei # wurde nicht gefunden.|# hat dir einen Brief geschickt.|Ich kenne # nicht.|"
    "Hast du gestern # gesehen?|Wenn # leer ist, endet das Programm.|Schreiben Sie den Namen von # hierher.|"
    "Mein Bruder wohnt bei #.|Hallo #, wie geht es dir?|Bitte gib mir # und das Buch.",
}
SPANS = (
    "{name}|{{ user.id }}|${total}|%s|%(n)d|%1$s|{w}x{h}|https://example.com/a?b=1#c|www.example.org|a.b@example.com|"
    "`x = 1`|<code>y</code>|H<sub>2</sub>O|<b>Tom</b>|42|1,250"
)
"""Each span is put into each frame: 160 sentences."""
LINES = 2000
"""Number of lines without spans that are searched for spans."""


def main() -> None:
    """Measure each model and save the result."""
    parser = command_line(__doc__)
    parser.add_argument("--data", nargs=2, type=Path, metavar="FILE", help="two files, such as valid.en and valid.de")
    parser.add_argument("--model-dirs", nargs="+", type=Path, metavar="FOLDER", help="English and German models")
    args = parser.parse_args()
    if not (args.data and args.model_dirs):
        parser.error("give --data and --model-dirs")
    texts = {file.name.removesuffix(".gz").rsplit(".", 1)[-1]: read_all_lines(file) for file in args.data}
    most = 5 if args.smoke_test else None
    rows, numbers, markup = [], [], []
    documents = dict(list(read_documents().items())[:most])
    for folder in args.model_dirs:
        translator = Translator.from_pretrained(folder)
        rows.append(measure(translator, most))
        numbers.append(measure_numbers(translator, texts, most))
        figures, documents = measure_documents(translator, documents)
        markup.append(figures)
    result = new_result(rows=rows, numbers=numbers, markup=markup, microseconds=microseconds_per_line())
    save("protection", result, make_tables(result), smoke_test=args.smoke_test)


def measure(translator: Translator, most: int | None) -> dict[str, Any]:
    """Return the figures of one direction."""
    sources, references = (
        [line for text in TEXTS for line in read_all_lines(text.with_suffix(f".{language}"))]
        for language in (translator.source_lang, translator.target_lang)
    )
    pairs = [pair for pair in zip(sources, references, strict=True) if mask(pair[0]).spans][:most]
    lines = [source for source, _ in pairs]
    translator.protect = False
    found = {"model alone": translator(lines)}
    translator.protect = True
    stand_ins, protection.STAND_INS = protection.STAND_INS, ()
    found["parts between the spans"] = translator(lines)
    protection.STAND_INS = stand_ins
    found["stand-ins and alignment"] = translator(lines)
    kept = {name: sum(map(is_kept, map(mask, lines), outputs)) for name, outputs in found.items()}
    chrf = {
        name: CHRF().corpus_score(outputs, [[reference for _, reference in pairs]]).score
        for name, outputs in found.items()
    }
    return {
        "direction": f"{translator.source_lang} to {translator.target_lang}",
        "lines": len(lines),
        "kept": kept,
        "chrf": chrf,
        **measure_made(translator, most),
    }


def measure_made(translator: Translator, most: int | None) -> dict[str, Any]:
    """Return how many of the 200 sentences keep their spans."""
    frames = FRAMES[translator.source_lang].split("|")
    made = [(frame.replace("#", span), span) for frame in frames for span in SPANS.split("|")][:most]
    written = read_all_lines(ROOT / f"benchmarks/sentences/protected.{translator.source_lang}")[:most]
    lines = [*(line for line, _ in made), *written]
    outputs = translator(lines)
    kept = [
        not lost_numbers(line, output) if span[0].isdigit() else output.count(span) == line.count(span)
        for (line, span), output in zip(made, outputs, strict=False)
    ]
    kept += map(is_kept, map(mask, written), outputs[len(made) :])
    failed = [pair for pair, good in zip(zip(lines, outputs, strict=True), kept, strict=True) if not good]
    return {"made": len(lines), "made_kept": sum(kept), "made_failed": failed}


def measure_documents(translator: Translator, documents: dict[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return how many documents have all tags in place, and the translations."""
    outputs = {
        name: translate_document(translator, text, "html", note=lambda _: None) for name, text in documents.items()
    }
    found = {name: problems(text, outputs[name]) for name, text in documents.items()}
    names = [names_in_place(text, outputs[name]) for name, text in documents.items()]
    figures = {
        "direction": f"{translator.source_lang} to {translator.target_lang}",
        "documents": len(documents),
        "in_place": sum(not wrong for wrong in found.values()),
        "problems": {name: wrong for name, wrong in found.items() if wrong},
        "names": [sum(figure) for figure in zip(*names, strict=True)],
        "outputs": outputs,
    }
    return figures, outputs


def measure_numbers(translator: Translator, texts: dict[str, list[str]], most: int | None) -> dict[str, Any]:
    """Return how many lines lose numbers in one direction, and BLEU."""
    pairs = list(zip(texts[translator.source_lang], texts[translator.target_lang], strict=True))
    pairs = [(source, reference) for source, reference in pairs if re.search(r"\d", source)][:most]
    lines, references = [source for source, _ in pairs], [reference for _, reference in pairs]
    found = {}
    for translator.protect in (False, True):
        outputs = translator(lines)
        lost = sum(bool(lost_numbers(*pair)) for pair in zip(lines, outputs, strict=True))
        found["protected" if translator.protect else "model alone"] = {
            "lost": lost,
            "bleu": BLEU().corpus_score(outputs, [references]).score,
        }
    lost_by_people = sum(bool(lost_numbers(*pair)) for pair in pairs)
    direction = f"{translator.source_lang} to {translator.target_lang}"
    return {"direction": direction, "lines": len(lines), "reference": lost_by_people, "found": found}


def microseconds_per_line() -> float:
    """Return the time in which a line without spans is searched for them."""
    lines = ["The book that you gave me yesterday is very good, and my brother has read it, too."] * LINES
    started = time.perf_counter()
    for line in lines:
        mask(line)
    return (time.perf_counter() - started) / LINES * 1e6


def make_tables(result: dict[str, Any]) -> Tables:
    """Return a table of directions and methods."""
    rows = [
        [row["direction"], name, f"{row['kept'][name]} of {row['lines']}", f"{row['chrf'][name]:.1f}"]
        for row in result["rows"]
        for name in row["kept"]
    ]
    kept = ", ".join(f"{row['made_kept']} of {row['made']} ({row['direction']})" for row in result["rows"])
    note = (
        f"Of 200 sentences, 160 of them made of 10 frames and 16 spans, {kept} have all spans. "
        f"A line without spans takes {result['microseconds']:.1f} microseconds longer, and its translation is "
        f"bit-identical. {about_machine(result)}."
    )
    numbers = [
        [row["direction"], name, f"{found['lost']} of {row['lines']}", row["reference"], f"{found['bleu']:.1f}"]
        for row in result["numbers"]
        for name, found in row["found"].items()
    ]
    headings = ["direction", "method", "lines that lose numbers", "references that do", "BLEU of these lines"]
    spans = table(["direction", "method", "lines with all spans", "chrF2"], rows, note)
    documents = [
        [row["direction"], f"{row['in_place']} of {row['documents']}", f"{row['names'][0]} of {row['names'][1]}"]
        for row in result["markup"]
    ]
    markup = table(
        ["direction", "documents with all tags balanced and in place", "names that are in their inline element"],
        documents,
        f"{about_machine(result)}.",
    )
    return {
        "protection": [spans],
        "protected_documents": [markup],
        "protected_numbers": [table(headings, numbers, f"{about_machine(result)}.")],
    }


if __name__ == "__main__":
    run_command(main)
