FROM --platform=linux/amd64 python:3.12-slim
MAINTAINER someone
ARG NEEDED
ENV OLD value with blanks
ADD git@example.com:team/x.git /x
ADD a.tar.xz b.txt /c/
COPY ["with blank", "/d/"]
RUN --mount=type=bind,source=req.txt,target=/req.txt --mount=type=ssh --security=insecure pip install -r /req.txt
RUN --mount=type=secret,id=a-token,target=/t cat /t
RUN <<A cat && cat <<B
one
A
two
B
HEALTHCHECK --start-interval=1s --start-period=5s CMD true
EXPOSE $NEEDED
ONBUILD COPY . .
CMD python -m http.server
