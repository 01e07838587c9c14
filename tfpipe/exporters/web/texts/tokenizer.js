/*
 * From a text to the ids of the sub-words that the model was trained on.
 *
 * The worker loads this file with importScripts, node's tests with require; it touches no browser API.
 * Every id must equal that of the Python package `tokenizers` 0.23, because a model reads other ids as
 * another text. Its notions of letters and marks are those of the Rust crates it was built with: categories
 * of Unicode 8, decomposition of Unicode 9, lower case of Unicode 17. The browser's are newer, mostly, and the
 * tables below name what came between, up to Unicode 17. What remains: a browser older than that leaves the
 * latest capitals as they are (55 since Unicode 15), and a newer one knows marks that are named nowhere here.
 */
"use strict";

/*
 * {encode} of a parsed tokenizer.json with a WordPiece model (Devlin 2018), as `tokenizers` writes it.
 *
 * encode(text, maxLength) gives an Int32Array of at most maxLength ids, the marks around the text included.
 * What the document says of padding and truncation is not read. What it asks for and this file does not
 * know is an error: ids that are nearly right would go unnoticed.
 */
function buildTokenizer(document) {
  const normalizeText = buildNormalizer(document.normalizer);
  checkTokenizerPart("pre_tokenizer", document.pre_tokenizer, ["BertPreTokenizer"]);
  const idsOf = buildWordPiece(document.model);
  const iterPieces = buildSplitter(document.added_tokens, normalizeText);
  const { before, after } = marksAround(document.post_processor);

  function* iterIds(text) {
    for (const { id, part } of iterPieces(text)) {
      if (part === undefined) yield id;
      else for (const word of iterWords(part)) yield* idsOf(word);
    }
  }

  function encode(text, maxLength) {
    const room = maxLength - before.length - after.length;
    if (!(room >= 0)) throw new Error(`A text of at most ${maxLength} ids has no room for the tokenizer's own marks.`);
    // Rust's strings have no half of a surrogate pair, and whatever encodes as UTF-8 writes U+FFFD for one.
    const ids = firstOf(iterIds(text.replace(/\p{Surrogate}/gu, "\ufffd")), room);
    return Int32Array.from([...before, ...ids, ...after]);
  }

  return { encode };
}

function checkTokenizerPart(key, part, known) {
  const found = part ? part.type : null;
  if (!known.includes(found)) {
    const names = known.map((name) => `“${name}”`).join(" and ");
    throw new Error(`tokenizer.json asks for the ${key} “${found}”; this page knows ${names}.`);
  }
}

/* What BertNormalizer makes of a part of the text, step by step in its order. */
function buildNormalizer(normalizer) {
  checkTokenizerPart("normalizer", normalizer, ["BertNormalizer", null]);
  if (!normalizer) return (text) => text;
  const { clean_text: clean, handle_chinese_chars: chinese, lowercase, strip_accents: accents } = normalizer;
  const steps = [
    [clean, (text) => text.replace(REMOVED, "").replace(BLANK, " ")],
    [chinese, (text) => text.replace(IDEOGRAPH, " $& ")],
    [accents ?? lowercase, (text) => decompose(text).replace(MARK, "")],
    // Rust takes each letter for itself; JavaScript looks around at one alone, the sigma at the end of a word.
    [lowercase, (text) => text.replace(/Σ/g, "σ").toLowerCase()],
  ].flatMap(([wanted, step]) => (wanted ? [step] : []));
  return (text) => steps.reduce((result, step) => step(result), text);
}

/* NFD of Unicode 9: what came later stands for itself, and no mark moves past it. */
function decompose(text) {
  return text
    .split(NEWER_THAN_NFD)
    .map((part, i) => (i % 2 ? part : part.replace(MANY_MARKS, sortMarks).normalize("NFD")))
    .join("");
}

/* Marks in the order of NFD, beforehand: an engine that inserts each of a million where it belongs needs minutes. */
function sortMarks(marks) {
  const parts = [...Array.from(marks, (mark) => mark.normalize("NFD")).join("")];
  const ranks = rankMarks([...new Set(parts)]);
  let sorted = "";
  let waiting = [];
  for (const part of parts) {
    if (ranks.has(part)) {
      waiting[ranks.get(part)] = (waiting[ranks.get(part)] ?? "") + part;
    } else {
      sorted += waiting.join("") + part; // no mark moves past this one
      waiting = [];
    }
  }
  return sorted + waiting.join("");
}

/* A number for each mark that moves; of two side by side, that with the lower one comes first. */
function rankMarks(marks) {
  const isPassed = (mark, next) => (mark + next).normalize("NFD") !== mark + next;
  const moved = marks
    .filter((mark) => isPassed("\u0345", mark) || isPassed(mark, "\u0338")) // the classes 240 and 1, last and first
    .sort((a, b) => isPassed(a, b) - isPassed(b, a));
  let rank = 0;
  return new Map(moved.map((mark, i) => [mark, i > 0 && isPassed(mark, moved[i - 1]) ? ++rank : rank]));
}

/*
 * A function from a text to its pieces: {id} of an added token that stands in it, {part} normalized between them.
 *
 * Tokens with "normalized" are looked for after normalization, in what the others leave.
 */
function buildSplitter(addedTokens, normalizeText) {
  const raw = addedTokens.filter((token) => !token.normalized).map(({ content, id }) => [content, id]);
  const normalized = addedTokens
    .filter((token) => token.normalized)
    .map(({ content, id }) => [normalizeText(content), id]);
  addedTokens
    .filter((token) => token.single_word)
    .forEach(({ content }) => refuseToken(content, "as a word of its own"));
  // lstrip and rstrip take the blanks beside a token, which part words anyway, but they could take a token's own.
  [...raw, ...normalized]
    .filter(([content]) => content === "" || /^\p{White_Space}|\p{White_Space}$/u.test(content))
    .forEach(([content]) => refuseToken(content, "with a blank at its edge or nothing in it"));
  // Of two that become the same, Python takes one today and the other tomorrow.
  normalized
    .filter(([content], i) => normalized.findIndex(([other]) => other === content) < i)
    .forEach(([content]) => refuseToken(content, "twice once normalized"));
  const iterRaw = buildMatcher(raw);
  const iterNormalized = buildMatcher(normalized);

  return function* iterPieces(text) {
    for (const piece of iterRaw(text)) {
      if (piece.part === undefined) yield piece;
      else yield* iterNormalized(normalizeText(piece.part));
    }
  };
}

function refuseToken(content, how) {
  throw new Error(`tokenizer.json adds the token “${content}” ${how}, which this page cannot look for.`);
}

/* A function from a text to {id} and {part} in turn: the leftmost token, and of those the longest. */
function buildMatcher(tokens) {
  if (tokens.length === 0) return (text) => [{ part: text }];
  const ids = new Map(tokens);
  const longestFirst = [...ids.keys()].sort((a, b) => b.length - a.length);
  const escaped = longestFirst.map((content) => content.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"));
  const pattern = new RegExp(escaped.join("|"), "gu");

  return function* iterMatches(text) {
    let end = 0;
    for (const { 0: content, index } of text.matchAll(pattern)) {
      yield { part: text.slice(end, index) };
      yield { id: ids.get(content) };
      end = index + content.length;
    }
    yield { part: text.slice(end) };
  };
}

/* The words of BertPreTokenizer: blanks part them, and each punctuation mark is one. */
function* iterWords(text) {
  let end = 0;
  for (const { 0: found, 1: punctuation, index } of text.matchAll(BOUNDARY)) {
    if (end < index) yield text.slice(end, index);
    if (punctuation) yield punctuation;
    end = index + found.length;
  }
  if (end < text.length) yield text.slice(end);
}

/* A function from a word to its ids: from its start on, the longest entry of the vocabulary each time. */
function buildWordPiece(model) {
  checkTokenizerPart("model", model, ["WordPiece"]);
  const { unk_token: unknown, continuing_subword_prefix: prefix, max_input_chars_per_word: maxChars } = model;
  const vocabulary = new Map(Object.entries(model.vocab));
  if (!vocabulary.has(unknown)) {
    throw new Error(`tokenizer.json has no “${unknown}” in its vocabulary, which stands for unknown words.`);
  }
  const longest = [...vocabulary.keys()].reduce((length, entry) => Math.max(length, entry.length), 0);

  // An end within a surrogate pair is tried in vain: no entry has half of one.
  function endOfEntry(word, start, before) {
    let end = Math.min(word.length, start + longest);
    while (end > start && !vocabulary.has(before + word.slice(start, end))) end--;
    return end;
  }

  return function idsOf(word) {
    const ids = [];
    if (isLongerThan(word, maxChars)) return [vocabulary.get(unknown)];
    for (let start = 0, end; start < word.length; start = end) {
      const before = start === 0 ? "" : prefix;
      end = endOfEntry(word, start, before);
      if (end === start) return [vocabulary.get(unknown)];
      ids.push(vocabulary.get(before + word.slice(start, end)));
    }
    return ids;
  };
}

/* Whether a word has more characters, of which some are two units of a JavaScript string. */
function isLongerThan(word, maxChars) {
  return word.length > 2 * maxChars || (word.length > maxChars && [...word].length > maxChars);
}

/* The ids {before, after} each text. */
function marksAround(postProcessor) {
  checkTokenizerPart("post_processor", postProcessor, ["BertProcessing", "TemplateProcessing"]);
  if (postProcessor.type === "BertProcessing") {
    return { before: [postProcessor.cls[1]], after: [postProcessor.sep[1]] };
  }
  const { single, special_tokens: specialTokens } = postProcessor;
  const place = single.findIndex(({ Sequence: sequence }) => sequence);
  const marks = single.map(({ SpecialToken: mark }) => (mark ? specialTokens[mark.id].ids : null));
  if (place === -1 || marks.filter((ids) => ids === null).length > 1 || single[place].Sequence.id !== "A") {
    throw new Error("tokenizer.json has a post_processor whose template does not hold the text exactly once.");
  }
  return { before: marks.slice(0, place).flat(), after: marks.slice(place + 1).flat() };
}

/* At most `count` of what an iterator gives; the rest of a long text is never looked at. */
function firstOf(iterator, count) {
  const found = [];
  while (found.length < count) {
    const { value, done } = iterator.next();
    if (done) break;
    found.push(value);
  }
  return found;
}

/* Controls, formats and private use of Unicode 8 but \t, \n and \r; and U+FFFD. What is no character yet stays. */
const CONTROLS = characterClass(`
  0-8 b-c e-1f 7f-9f ad 600-605 61c 6dd 70f 180e 200b-200f 202a-202e 2060-2064 2066-206f e000-f8ff feff
  fff9-fffb fffd 110bd 1bca0-1bca3 1d173-1d17a e0001 e0020-e007f f0000-ffffd 100000-10fffd
`);

/* As the package has them: of extension E (from U+2B820 on) the first 256 are missing. */
const IDEOGRAPHS = characterClass(`
  3400-4dbf 4e00-9fff f900-faff 20000-2a6df 2a700-2b81f 2b920-2ceaf 2f800-2fa1f
`);

/* NFD moves these marks, but they count as letters. */
const MARKS_OF_UNICODE_9 = characterClass(`
  8d4-8e1 1dfb 11442 11446 11c3f 1e000-1e006 1e008-1e018 1e01b-1e021 1e023 1e024 1e026-1e02a 1e944-1e94a
`);

/* Marks and composed letters that are letters like any other here: NFD neither moves nor parts them. */
const SINCE_UNICODE_10 = characterClass(`
  7fd 897-89f 8ca-8d3 9fe afa-aff b55 c04 c3c d00 d3b d3c d81 eba ece 1715 180f 1885 1886 1abf-1add 1ae0-1aeb
  1df6-1dfa a82c a8c5 a8ff a9bd 105c9 105e4 10d24-10d27 10d69-10d6d 10eab 10eac 10efa-10eff 10f46-10f50
  10f82-10f85 11070 11073 11074 110c2 111c9 111cf 1123e 11241 1133b 11383 11385 1138e 11391 113bb-113c0 113c5
  113c7 113c8 113ce-113d0 113d2 113e1 113e2 11438-1143f 11443 11444 1145e 1182f-11837 11839 1183a 11938
  1193b-1193e 11943 119d4-119d7 119da 119db 119e0 11a01-11a0a 11a33-11a38 11a3b-11a3e 11a47 11a51-11a56
  11a59-11a5b 11a8a-11a96 11a98 11a99 11b60 11b62-11b64 11b66 11c30-11c36 11c38-11c3d 11c92-11ca7 11caa-11cb0
  11cb2 11cb3 11cb5 11cb6 11d31-11d36 11d3a 11d3c 11d3d 11d3f-11d45 11d47 11d90 11d91 11d95 11d97 11ef3 11ef4
  11f00 11f01 11f36-11f3a 11f40-11f42 11f5a 13440 13447-13455 1611e-16129 1612d-1612f 16d68-16d6a 16f4f 16fe4
  16ff0 16ff1 1cf00-1cf2d 1cf30-1cf46 1e08f 1e130-1e136 1e2ae 1e2ec-1e2ef 1e4ec-1e4ef 1e5ee 1e5ef 1e6e3 1e6e6
  1e6ee 1e6ef 1e6f5
`);

/* Punctuation that counts as letters. */
const PUNCTUATION_SINCE_UNICODE_8 = characterClass(`
  61d 9fd a76 c77 c84 1b4e 1b4f 1b7d-1b7f 2e43-2e4f 2e52-2e5d 10d6e 10ead 10ed0 10f55-10f59 10f86-10f89 113d4
  113d5 113d7 113d8 1144b-1144f 1145a 1145b 1145d 11660-1166c 116b9 1183b 11944-11946 119e2 11a3f-11a46
  11a9a-11a9c 11a9e-11aa2 11b00-11b09 11be1 11c41-11c45 11c70 11c71 11ef7 11ef8 11f43-11f4f 11fff 12ff1 12ff2
  16d6d-16d6f 16e97-16e9a 16fe2 1e5ff 1e95e 1e95f
`);

const BLANK = /\p{White_Space}/gu;
const REMOVED = new RegExp(`[${CONTROLS}]`, "gu");
const IDEOGRAPH = new RegExp(`[${IDEOGRAPHS}]`, "gu");
const NEWER_THAN_NFD = new RegExp(`([${SINCE_UNICODE_10}])`, "u");
const MANY_MARKS = /\p{M}{100,}/gu;

/* The nonspacing marks of Unicode 8; two of them are something else by now. */
const MARK = new RegExp(`(?=[\\p{Mn}\\u1734\\u{1171e}])[^${MARKS_OF_UNICODE_9}${SINCE_UNICODE_10}]`, "gu");

/* Blanks, or (one mark) of punctuation: Unicode 8's, two of which are something else by now, and ASCII's rest. */
const BOUNDARY = new RegExp(
  `\\p{White_Space}+|(?=[\\p{P}$+<=>^\`|~\\u166d\\u{111c9}])([^${PUNCTUATION_SINCE_UNICODE_8}])`,
  "gu",
);

/* Code points and ranges in hexadecimal, as they stand within the brackets of a regular expression. */
function characterClass(codePoints) {
  return codePoints.replace(/[0-9a-f]+/g, "\\u{$&}").replace(/\s/g, "");
}

if (typeof module !== "undefined") {
  module.exports = { buildTokenizer };
}
