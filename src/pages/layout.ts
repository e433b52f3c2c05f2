import { html } from 'ghtml'

/**
 * The Content-Security-Policy of every page. It allows scripts, styles, images and requests only from and to this
 * service. It forbids inline code, frames, native form submission and scripts that write HTML.
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

/**
 * Returns the policy of a page with a form that the browser sends itself: to this service, which then redirects to a program on the
 * same computer. Browsers apply it to that redirect, too, and have no way to name an IPv6 address in it.
 */
export function formPolicy(redirectOrigin: string | undefined): string {
  const redirect = redirectOrigin?.includes('[') ? 'http:' : redirectOrigin
  return PAGE_POLICY.replace(
    "form-action 'none'",
    `form-action 'self'${redirect === undefined ? '' : ` ${redirect}`}`,
  )
}

export interface PageContent {
  readonly title: string
  /** The path of `PUBLIC_URL` without a trailing slash; empty if the service is at the root of its host. */
  readonly basePath: string
  /** HTML. */
  readonly main: string
  /** The name of a script in `assets/`. */
  readonly script?: string
}

/** Renders a whole page: a header that links to the other pages, and the main part. */
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
<a class="skip" href="#main">Skip to main content</a>
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
