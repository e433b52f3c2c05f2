FROM node:26-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev

FROM node:26-slim
WORKDIR /app
# The compile cache is filled while the image is built, so that a container starts quickly with a read-only root.
ENV NODE_ENV=production \
    NODE_COMPILE_CACHE=/app/.compile-cache \
    HOST=0.0.0.0 \
    STORE=sqlite:/data/firstkey.db
COPY --from=dependencies /app/node_modules ./node_modules
COPY package.json LICENSE ./
COPY src ./src
# Without a configuration the server loads everything and refuses to start: just what the cache needs.
RUN ln -s /app/src/cli/main.ts /usr/local/bin/firstkey \
 && firstkey --help > /dev/null \
 && { node --max-semi-space-size=12 src/start.js 2> /dev/null || true; } \
 && install -d -o node -g node -m 700 /data
USER node
VOLUME /data
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT || 3000}/livez`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "--max-semi-space-size=12", "src/start.js"]
