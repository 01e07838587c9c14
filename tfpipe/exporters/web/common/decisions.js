/* What calibration.json and regions.json make of probabilities (num_classes,). */

/* Whether a name with this probability, by the photo alone, is to be relied upon: below the threshold too many were wrong. */
export function isConclusive(prob, { threshold }) {
  return threshold === null || prob >= threshold;
}

/* Indices of the classes among which the true one is as often as `sets.level` says (conformal prediction). */
export function predictionSet(probs, { sets }) {
  const isIn = (prob, index) => prob >= 1 - (sets.of_class?.[index] ?? sets.quantile);
  return Array.from(probs.keys()).filter((index) => isIn(probs[index], index));
}

/*
 * What each class's probability is multiplied by for photos of a region, Float64Array (num_classes,).
 *
 * As tfpipe/training/regions.py, which says why; `mode` is "filter" or "reweight".
 */
export function regionFactors({ mode, regions, smoothing }, name, numClasses) {
  const here = countPhotos([regions[name]], numClasses);
  if (mode === "filter") return here.map((count) => Number(count > 0));
  const everywhere = countPhotos(Object.values(regions), numClasses);
  const share = sum(here) / sum(everywhere);
  return here.map((count, index) => (count / share + smoothing) / (everywhere[index] + smoothing));
}

/* Probabilities times factors, with the sum 1 again; as they were, where nothing is left of them. */
export function inRegion(probs, factors) {
  const weighed = Float64Array.from(probs, (prob, index) => prob * factors[index]);
  const total = sum(weighed);
  return total > 0 ? weighed.map((value) => value / total) : probs;
}

/* Training photos of each class in some regions together, Float64Array (num_classes,). */
function countPhotos(someRegions, numClasses) {
  const total = new Float64Array(numClasses);
  for (const { classes, counts } of someRegions) classes.forEach((index, i) => (total[index] += counts[i]));
  return total;
}

function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}
