# One image for gateway, worker, beat and migrate. Its steps are deploy/image/build.sh, which also runs without Docker.
FROM python:3.11-slim AS build
WORKDIR /src
# Dependencies first: they change rarely, the product often.
COPY requirements.txt ./
COPY deploy/image ./deploy/image
RUN deploy/image/build.sh /opt/sentinel dependencies
COPY manage.py ./
COPY sentinel ./sentinel
COPY gateway ./gateway
COPY usage ./usage
COPY limits ./limits
RUN deploy/image/build.sh /opt/sentinel application

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin sentinel \
    && install -d -o sentinel -g sentinel -m 700 /data
COPY --from=build /opt/sentinel /opt/sentinel
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    SENTINEL_HOST=0.0.0.0 \
    SENTINEL_DATA_DIR=/data
USER sentinel
WORKDIR /opt/sentinel/app
# The journal: one volume per node and gateway.
VOLUME /data
EXPOSE 8080
# SIGTERM drains: new calls are refused, running ones may finish for SHUTDOWN_GRACE_SECONDS.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/sentinel/entrypoint.sh"]
CMD ["gateway"]
