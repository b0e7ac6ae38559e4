"""Contrast of text with what is behind it, as WCAG 2.1 counts it, in a page as the browser has it."""

from __future__ import annotations

from playwright.sync_api import Page

_LOW = """() => {
  const channels = (colour) => (colour.match(/[\\d.]+/g) ?? []).map(Number);
  const linear = (value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  // In a drawing the last shape before the text that reaches over its middle.
  const shape = (text) => {
    const { left, right, top, bottom } = text.getBoundingClientRect();
    const [x, y] = [(left + right) / 2, (top + bottom) / 2];
    const over = ({ left, right, top, bottom }) => left <= x && x <= right && top <= y && y <= bottom;
    const precedes = (rect) => rect.compareDocumentPosition(text) & Node.DOCUMENT_POSITION_FOLLOWING;
    const rects = [...text.ownerSVGElement.querySelectorAll("rect")];
    const before = rects.filter((rect) => precedes(rect) && over(rect.getBoundingClientRect()));
    return before.length ? getComputedStyle(before.at(-1)).fill : "";
  };
  const behind = (element) => {
    const fill = element.closest("svg text") && shape(element.closest("text"));
    if (fill) return channels(fill);
    for (let at = element; at; at = at.parentElement) {
      const colour = channels(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const low = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility({ visibilityProperty: true })) continue;
    const style = getComputedStyle(element);
    const colour = element.closest("svg text") ? style.fill : style.color;
    const [less, more] = [luminance(channels(colour)), luminance(behind(element))].sort((a, b) => a - b);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    const contrast = (more + 0.05) / (less + 0.05);
    if (contrast < (large ? 3 : 4.5)) low.push([contrast.toFixed(2), element.className, element.textContent]);
  }
  return low;
}"""


def low_contrasts(page: Page) -> list[list[str]]:
    """Return contrast, class and text of what is seen with a contrast below 4.5, or below 3 where it is large."""
    low: list[list[str]] = page.evaluate(_LOW)
    return low
