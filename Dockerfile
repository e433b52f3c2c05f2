FROM node:26.10.0-slim@sha256:ec7758ee051e457b468b32bde57b0879010b325bb9862718e9615225ce4aaae1 AS dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev

# The API Gateway emulator for docker-compose.yml. The production image contains nothing of this stage.
FROM node:26.10.0-slim@sha256:ec7758ee051e457b468b32bde57b0879010b325bb9862718e9615225ce4aaae1 AS emulator
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# Two of its packages are development dependencies. Neither has an install script.
RUN npm ci --ignore-scripts
COPY emulator ./emulator
COPY src/token-bucket.ts ./src/
USER node
EXPOSE 4000
CMD ["node", "emulator/main.ts", "--host", "0.0.0.0"]

FROM node:26.10.0-slim@sha256:ec7758ee051e457b468b32bde57b0879010b325bb9862718e9615225ce4aaae1 AS production
WORKDIR /app
# The build fills the compile cache, so that a container with a read-only root file system starts quickly.
ENV NODE_ENV=production \
    NODE_COMPILE_CACHE=/app/.compile-cache \
    HOST=0.0.0.0 \
    STORE=sqlite:/data/firstkey.db
COPY --from=dependencies /app/node_modules ./node_modules
COPY package.json LICENSE ./
COPY src ./src
# Without configuration the server loads every module and then refuses to start. That is enough to fill the cache.
RUN ln -s /app/src/cli/main.ts /usr/local/bin/firstkey \
 && firstkey --help > /dev/null \
 && { node --max-semi-space-size=4 src/start.js 2> /dev/null || true; } \
 && install -d -o node -g node -m 700 /data
USER node
VOLUME /data
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT?.trim() || 3000}/livez`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "--max-semi-space-size=4", "src/start.js"]
