/* The answer: the likeliest names, how sure, and whether to rely on it. */

import * as client from "./client.js";
import { inRegion, isConclusive, predictionSet } from "./decisions.js";
import { element, withText } from "./elements.js";
import { hideNotice, showNotice } from "./notices.js";
import { chosenFactors } from "./regions.js";

const NUM_RESULTS = 5;
const NUM_IN_PLACE = 12; // names that may stand each in its place, where the page wants that
const NUM_IN_SET = 12;
const INVITATION = element("waiting").textContent;
const THING = document.body.dataset.thing; // "photo" or "text"

let shown = null; // {probs, trueLabel}, to be shown again when another region is chosen
let lastAnnounced = "";

/* probs: (num_classes,), by the photo or text alone. isLive: whether it is one of many, such as camera frames. */
export async function showAnswer({ probs, milliseconds }, { trueLabel, isLive }) {
  shown = { probs, trueLabel };
  hideNotice();
  announce(await showNames(shown), isLive);
  showTiming(`Named in ${milliseconds.toFixed(0)} ms`);
}

/* The last answer, if there is one, in the region that is chosen now. */
export async function showAnswerAgain() {
  if (shown) announce(await showNames(shown), false);
}

export function showFailure(error) {
  showNothing("Nothing to name yet.");
  showNotice(error.message);
}

export function showNothing(reason = INVITATION) {
  shown = null;
  lastAnnounced = "";
  element("announcement").textContent = "";
  for (const id of ["results", "verdict", "set"]) element(id).hidden = true;
  element("results-title").textContent = "Most likely";
  element("true-label").textContent = "";
  element("waiting").textContent = reason;
  element("waiting").hidden = false;
  showTiming("Ready");
}

export function showTiming(text) {
  const { backend } = element("timing").dataset;
  element("timing").textContent = backend ? `${text} (${backend}).` : "";
}

/* Returns the likeliest: [{index, name, prob, alone}], `alone` being the probability by the photo or text alone. */
async function showNames({ probs, trueLabel }) {
  const { classes, calibration } = await client.ready;
  const factors = chosenFactors(classes.length);
  const weighed = factors ? inRegion(probs, factors) : probs;
  const isInPlace = "inPlace" in element("results").dataset && classes.length <= NUM_IN_PLACE;
  const best = rank(weighed)
    .slice(0, isInPlace ? NUM_IN_PLACE : NUM_RESULTS)
    .map((index) => ({ index, name: classes[index], prob: weighed[index], alone: probs[index] }));
  showVerdict(best[0], calibration, factors !== null);
  showResults(isInPlace ? [...best].sort((a, b) => a.index - b.index) : best, best[0], trueLabel);
  showSet(probs, { classes, calibration }, factors !== null);
  showTrueLabel(trueLabel, best);
  return best;
}

/* The indices of the probabilities, the largest first. */
function rank(probs) {
  return Array.from(probs.keys()).sort((a, b) => probs[b] - probs[a]);
}

/* The threshold was found for photos alone: a region may take an answer from being sure, and never make it so. */
function showVerdict({ alone }, calibration, isInRegion) {
  const isSure = isConclusive(alone, calibration);
  element("verdict").hidden = isSure;
  element("results-title").textContent = isSure ? "Most likely" : "Perhaps";
  if (isSure) element("verdict").textContent = "";
  else showDoubt(formatPercent(alone), formatPercent(calibration.threshold), isInRegion);
}

function showDoubt(alone, threshold, isInRegion) {
  element("verdict").textContent = isInRegion
    ? `Not conclusive: by the ${THING} alone the first name has ${alone}, and below ${threshold} too many are wrong.`
    : `Not conclusive: names below ${threshold} are wrong too often.`;
}

/* Of the photo or text alone, since that is what the sets' level was measured on. */
function showSet(probs, { classes, calibration }, isInRegion) {
  element("set").hidden = !calibration.sets;
  if (!calibration.sets) return;
  const names = predictionSet(probs, calibration).map((index) => classes[index]);
  const more = names.length > NUM_IN_SET ? ` and ${names.length - NUM_IN_SET} more` : "";
  const things = isInRegion ? `${THING}s from anywhere` : `${THING}s`;
  element("set").textContent = names.length
    ? `Of ${formatPercent(calibration.sets.level)} of ${things} the true name is among: ${names.slice(0, NUM_IN_SET).join(", ")}${more}.`
    : "The model is unsure of every name: it may be none of them.";
}

function showResults(names, likeliest, trueLabel) {
  element("waiting").hidden = true;
  element("results").hidden = false;
  fillList(element("results"), names.length, buildResult);
  names.forEach(({ index, name, prob }, i) => {
    const row = element("results").children[i];
    row.querySelector(".name").textContent = name;
    row.querySelector(".percent").textContent = formatPercent(prob);
    row.querySelector(".bar").style.setProperty("--share", prob);
    row.classList.toggle("is-first", index === likeliest.index);
    row.classList.toggle("is-true", name === trueLabel);
  });
}

/* Rows are kept and refilled, so that the bars glide from one camera frame to the next. */
function fillList(list, length, buildRow) {
  while (list.children.length < length) list.append(buildRow());
  while (list.children.length > length) list.lastChild.remove();
}

function buildResult() {
  const row = document.createElement("li");
  const bar = withText("span", "", "bar");
  bar.setAttribute("aria-hidden", "true");
  row.append(withText("span", "", "name"), withText("span", "", "percent"), bar);
  return row;
}

function formatPercent(prob) {
  if (prob < 0.001) return "< 0.1 %";
  if (prob > 0.999 && prob < 1) return "> 99.9 %";
  return `${(100 * prob).toFixed(1)} %`;
}

function showTrueLabel(trueLabel, best) {
  const verdict = best[0].name === trueLabel ? "The model agrees." : "The model differs.";
  element("true-label").textContent = trueLabel === null ? "" : `This ${THING} is labelled “${trueLabel}”. ${verdict}`;
}

/* Said aloud by screen readers; in continuous use only when the first name, or how sure it is, changes. */
function announce([first, second], isLive) {
  const heading = `${element("verdict").textContent} ${element("results-title").textContent} ${first.name}`;
  if (isLive && heading === lastAnnounced) return;
  lastAnnounced = heading;
  const runnerUp = second ? `, then ${second.name}, ${formatPercent(second.prob)}` : "";
  const sentence = `${heading}, ${formatPercent(first.prob)}${runnerUp}.`;
  element("announcement").textContent = `${sentence} ${element("true-label").textContent}`;
}
