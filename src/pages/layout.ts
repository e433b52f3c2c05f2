import { html } from 'ghtml'

/**
 * The Content-Security-Policy of every page: scripts, styles and requests of this service alone, nothing inline, no frames,
 * no form that the browser would send by itself, and no script that writes HTML.
 */
export const PAGE_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ')

export interface PageContent {
  readonly title: string
  /** The path of `PUBLIC_URL`, without a slash at the end: pages are not always at the root of their host. */
  readonly basePath: string
  /** HTML. */
  readonly main: string
  /** The name of a script of `assets/`. */
  readonly script?: string
}

/** A whole page: one header, one main part, links to the others. */
export function page({ title, basePath, main, script }: PageContent): string {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title}</title>
<link rel="icon" type="image/svg+xml" href="${basePath}/assets/icon.svg">
<link rel="stylesheet" href="${basePath}/assets/style.css">
!${script === undefined ? '' : html`<script type="module" src="${basePath}/assets/${script}"></script>`}
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header>
<a class="brand" href="${basePath}/">firstkey</a>
<nav aria-label="Pages">
<ul>
<li><a href="${basePath}/">Get a key</a></li>
<li><a href="${basePath}/docs">API reference</a></li>
</ul>
</nav>
</header>
<main id="main" tabindex="-1">
!${main}
</main>
</body>
</html>
`
}
