/* What calibration.json says of probabilities (num_classes,). */

/* Whether the likeliest name is to be relied upon: below the threshold too many were wrong in validation. */
export function isConclusive(probs, { threshold }) {
  return threshold === null || probs.reduce((max, prob) => Math.max(max, prob)) >= threshold;
}

/* Indices of the classes among which the true one is as often as `sets.level` says (conformal prediction). */
export function predictionSet(probs, { sets }) {
  const isIn = (prob, index) => prob >= 1 - (sets.of_class?.[index] ?? sets.quantile);
  return Array.from(probs.keys()).filter((index) => isIn(probs[index], index));
}
