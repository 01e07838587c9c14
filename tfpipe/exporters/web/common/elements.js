/* The page's elements, found and made. */

export const element = (id) => document.getElementById(id);

export function withText(tag, text, className = "") {
  const node = document.createElement(tag);
  node.textContent = text;
  node.className = className;
  return node;
}
