() => {
  const faults = [];
  const named = node => (node.getAttribute('aria-label') || node.textContent || '').trim()
    || (node.labels && node.labels.length && node.labels[0].textContent.trim()) || node.title;
  for (const node of document.querySelectorAll('button, a[href], select, textarea, input:not([type=hidden]):not([hidden])')) {
    if (!named(node)) faults.push('no name: ' + node.outerHTML.slice(0, 80));
  }
  for (const node of document.querySelectorAll('canvas, [role=img]')) {
    if (!node.getAttribute('aria-label')) faults.push('no label: ' + node.outerHTML.slice(0, 80));
  }
  for (const group of document.querySelectorAll('fieldset')) {
    if (!group.querySelector('legend')) faults.push('no legend');
  }
  if (!document.documentElement.lang) faults.push('no language');
  if (!document.title) faults.push('no title');
  if (document.querySelectorAll('h1').length !== 1) faults.push('not one h1');
  if (!document.querySelector('main')) faults.push('no main');
  if (!document.querySelector('[role=status]')) faults.push('no live region');
  const ids = [...document.querySelectorAll('[id]')].map(node => node.id);
  if (new Set(ids).size !== ids.length) faults.push('an id stands twice');
  if ([...document.querySelectorAll('[tabindex]')].some(node => Number(node.getAttribute('tabindex')) > 0)) faults.push('tabindex above 0');
  const luminance = ([r, g, b]) => { const [x, y, z] = [r, g, b].map(v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
    return .2126 * x + .7152 * y + .0722 * z; };
  const numbers = text => text.match(/[\d.]+/g).map(Number);
  const ground = node => { for (let n = node; n; n = n.parentElement) { const c = numbers(getComputedStyle(n).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c.slice(0, 3); } return [255, 255, 255]; };
  for (const node of document.querySelectorAll('body *')) {
    const text = [...node.childNodes].some(child => child.nodeType === 3 && child.textContent.trim());
    const box = node.getBoundingClientRect();
    if (!text || !box.width || box.right < 0 || node.closest('dialog:not([open]), noscript, option, :disabled') || node.matches('label:has(:disabled), label:has(:disabled) *')) continue;
    const a = luminance(numbers(getComputedStyle(node).color)), b = luminance(ground(node));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) faults.push(`contrast ${ratio.toFixed(2)}: ${node.textContent.trim().slice(0, 40)}`);
  }
  return faults;
}
