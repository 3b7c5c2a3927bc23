/* Diagrams fill their box while their letters, 16 pixels by nature, stay between 12.5 and 20. */
function fitDiagrams() {
  for (const svg of document.querySelectorAll("pre.mermaid svg")) {
    const natural = svg.viewBox.baseVal.width;
    const room = svg.parentElement.clientWidth - 16;
    const width = Math.min(1.25 * natural, Math.max(0.785 * natural, room));
    svg.style.setProperty("max-width", "none", "important");
    svg.style.width = `${width}px`;
  }
}
new MutationObserver(fitDiagrams).observe(document, { childList: true, subtree: true });
window.addEventListener("resize", fitDiagrams);
