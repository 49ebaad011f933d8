//! Projects in the languages that most images are for: one stage builds, another one runs. Nothing needs a network: what a project depends on is
//! in its context or in the base.

use super::shapes::Shape;

/// Wheels made in one stage and installed into a virtual environment in the next.
pub const PYTHON: Shape = Shape {
    name: "python",
    corpus: Some("debian-python"),
    anywhere: false,
    files: &[
        (
            "Dockerfile",
            r#"FROM debian:local AS wheels
ARG SOURCE_DATE_EPOCH=1700000000
WORKDIR /src
COPY packages/ ./
RUN pip wheel -q --no-cache-dir --no-deps --no-build-isolation -w /wheels ./greet ./shout

FROM debian:local
ARG SOURCE_DATE_EPOCH=1700000000
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PATH=/venv/bin:$PATH
RUN python3 -m venv --without-pip /venv
COPY requirements.txt .
COPY --from=wheels /wheels /wheels
RUN pip --python /venv/bin/python install -q --no-cache-dir --no-compile --no-index --find-links=/wheels -r requirements.txt \
 && rm -r /wheels
RUN useradd --create-home --uid 1001 app && rm -f /etc/*-
WORKDIR /srv/app
COPY --chown=app:app app ./app
COPY --chown=app:app tests ./tests
# A cache of compiled modules that does not depend on times.
RUN PYTHONDONTWRITEBYTECODE= PYTHONHASHSEED=0 python -m compileall -q --invalidation-mode unchecked-hash app
USER app
RUN python -m unittest discover -s tests -t . && greet world > ~/said && test "$(cat ~/said)" = 'HELLO, WORLD!'
EXPOSE 8000
HEALTHCHECK --interval=10s CMD ["python", "-c", "import app"]
CMD ["python", "-m", "app"]
"#,
        ),
        (".dockerignore", "**/__pycache__\n*.md\n"),
        ("README.md", "left out\n"),
        ("requirements.txt", "greet==1.2\n"),
        (
            "packages/greet/pyproject.toml",
            r#"[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "greet"
version = "1.2"
dependencies = ["shout>=0.1"]

[project.scripts]
greet = "greet:main"

[tool.setuptools]
packages = ["greet"]

[tool.setuptools.package-data]
greet = ["words.txt"]
"#,
        ),
        ("packages/greet/greet/words.txt", "hello\n"),
        (
            "packages/greet/greet/__init__.py",
            r#"import importlib.resources, sys
import shout

def greet(name):
    word = importlib.resources.files(__name__).joinpath("words.txt").read_text().strip()
    return shout.shout(f"{word}, {name}")

def main():
    print(greet(sys.argv[1]))
"#,
        ),
        (
            "packages/shout/setup.py",
            "from setuptools import setup\n\nsetup(name='shout', version='0.1', py_modules=['shout'])\n",
        ),
        ("packages/shout/shout.py", "def shout(text):\n    return text.upper() + '!'\n"),
        ("app/__init__.py", ""),
        ("app/__main__.py", "from .answer import answer\n\nprint(answer())\n"),
        ("app/answer.py", "import greet\n\ndef answer():\n    return greet.greet('app')\n"),
        ("tests/__init__.py", ""),
        (
            "tests/test_answer.py",
            r#"import os, subprocess, sys, tempfile, unittest
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from app.answer import answer

class Answer(unittest.TestCase):
    def test_it_is_loud(self):
        self.assertEqual(answer(), "HELLO, APP!")

    def test_it_is_the_same_in_threads_and_processes(self):
        for pool in ThreadPoolExecutor, ProcessPoolExecutor:
            with pool(2) as executor:
                self.assertEqual(set(executor.map(len, [answer()] * 8)), {11})

    def test_the_module_runs(self):
        out = subprocess.run([sys.executable, "-m", "app"], capture_output=True, text=True, check=True)
        self.assertEqual(out.stdout, "HELLO, APP!\n")

    def test_files_are_the_users(self):
        with tempfile.NamedTemporaryFile() as file:
            self.assertEqual(os.stat(file.name).st_uid, 1001)
"#,
        ),
    ],
};

/// Dependencies that npm installs from packed ones, with their own dependencies, commands and install scripts.
pub const NODE: Shape = Shape {
    name: "node",
    corpus: Some("debian-node"),
    anywhere: false,
    files: &[
        (
            "Dockerfile",
            r#"FROM debian:local AS packs
COPY packages /packages
RUN mkdir /packs && cd /packs && npm pack --silent --cache /tmp/npm /packages/greet /packages/check

FROM debian:local AS base
ENV NODE_ENV=production npm_config_offline=true npm_config_audit=false npm_config_fund=false npm_config_update_notifier=false
WORKDIR /srv/app

FROM base AS modules
COPY --from=packs /packs packs/
COPY package.json package-lock.json ./
RUN npm ci --cache /tmp/npm --omit=dev && rm -rf /tmp/npm

FROM modules AS test
RUN NODE_ENV= npm ci --cache /tmp/npm --include=dev
COPY . .
RUN npm test --silent --cache /tmp/npm > /report

FROM base
ARG SOURCE_DATE_EPOCH=1700000000
RUN groupadd --gid 1000 node && useradd --uid 1000 --gid node --create-home node && rm -f /etc/*-
COPY --from=modules --chown=node:node /srv/app/node_modules ./node_modules
COPY --from=test /report /report
COPY --chown=node:node package.json server.js ./
USER node
RUN node server.js --once > ~/said && test "$(cat ~/said)" = 'hello, world' && node_modules/.bin/greet again >> ~/said
EXPOSE 3000
STOPSIGNAL SIGINT
ENTRYPOINT ["node"]
CMD ["server.js"]
"#,
        ),
        (".dockerignore", "node_modules\nnpm-debug.log\n"),
        ("node_modules/left/out.js", "left out\n"),
        (
            "package.json",
            r#"{
  "name": "app",
  "version": "1.0.0",
  "private": true,
  "scripts": { "test": "check server.js" },
  "dependencies": { "greet": "file:packs/greet-1.0.0.tgz" },
  "devDependencies": { "check": "file:packs/check-2.1.0.tgz" }
}
"#,
        ),
        (
            "package-lock.json",
            r#"{
  "name": "app",
  "version": "1.0.0",
  "lockfileVersion": 3,
  "requires": true,
  "packages": {
    "": {
      "name": "app",
      "version": "1.0.0",
      "dependencies": { "greet": "file:packs/greet-1.0.0.tgz" },
      "devDependencies": { "check": "file:packs/check-2.1.0.tgz" }
    },
    "node_modules/check": {
      "version": "2.1.0",
      "resolved": "file:packs/check-2.1.0.tgz",
      "dev": true,
      "bin": { "check": "check.js" }
    },
    "node_modules/greet": {
      "version": "1.0.0",
      "resolved": "file:packs/greet-1.0.0.tgz",
      "hasInstallScript": true,
      "bin": { "greet": "bin/greet.js" }
    }
  }
}
"#,
        ),
        (
            "packages/greet/package.json",
            r#"{
  "name": "greet",
  "version": "1.0.0",
  "main": "index.js",
  "bin": { "greet": "bin/greet.js" },
  "scripts": { "install": "node -e \"require('fs').writeFileSync('built.txt', 'by ' + process.getuid())\"" }
}
"#,
        ),
        ("packages/greet/index.js", "module.exports = (name) => `hello, ${name}`;\n"),
        (
            "packages/greet/bin/greet.js",
            "#!/usr/bin/env node\nconsole.log(require('..')(process.argv[2]));\n",
        ),
        (
            "packages/check/package.json",
            r#"{ "name": "check", "version": "2.1.0", "bin": { "check": "check.js" } }
"#,
        ),
        (
            "packages/check/check.js",
            r#"#!/usr/bin/env node
const { execFileSync } = require("child_process");
const { Worker } = require("worker_threads");
const said = execFileSync(process.execPath, [process.argv[2], "--once"], { encoding: "utf8" });
if (said !== "hello, world\n") throw new Error(said);
const worker = new Worker("require('worker_threads').parentPort.postMessage(6 * 7)", { eval: true });
worker.on("message", (answer) => console.log("checked", answer));
"#,
        ),
        (
            "server.js",
            r#"const http = require("http");
const greet = require("greet");
const server = http.createServer((request, response) => response.end(greet("world") + "\n"));
// Once: asks itself over loopback and ends.
const once = process.argv[2] === "--once";
server.listen(once ? 0 : 3000, "127.0.0.1", () => {
  if (!once) return;
  http.get({ port: server.address().port, host: "127.0.0.1", agent: false }, (response) => {
    response.pipe(process.stdout);
    response.on("end", () => server.close());
  });
});
"#,
        ),
    ],
};

/// A jar that Maven compiles, tests and packs, run by the second stage.
pub const JAVA: Shape = Shape {
    name: "java",
    corpus: Some("debian-java"),
    anywhere: false,
    files: &[
        (
            "Dockerfile",
            r#"FROM debian:local AS build
WORKDIR /src
COPY pom.xml .
COPY .mvn .mvn
RUN mvn -q validate
COPY src src
RUN mvn -q package

FROM debian:local
ARG SOURCE_DATE_EPOCH=1700000000
RUN groupadd --system --gid 990 app && useradd --system --uid 990 --gid app --create-home app && rm -f /etc/*-
WORKDIR /app
COPY --from=build /usr/share/java/commons-lang3.jar lib/
COPY --from=build --chown=app:app /src/target/hello-1.0.jar app.jar
USER app
RUN java -jar app.jar world > ~/said && test "$(cat ~/said)" = 'Hello, World!'
ENV JAVA_OPTS="-Xmx64m -XX:+UseSerialGC"
EXPOSE 8080/tcp
ENTRYPOINT ["sh", "-c", "exec java $JAVA_OPTS -jar /app/app.jar \"$@\"", "app"]
CMD ["world"]
"#,
        ),
        (".dockerignore", "target/\n"),
        ("target/left-out.jar", "left out\n"),
        // What Debian packs is a repository of Maven's.
        (".mvn/maven.config", "--offline\n--batch-mode\n-Dmaven.repo.local=/usr/share/maven-repo\n"),
        (
            "pom.xml",
            r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>org.example</groupId>
  <artifactId>hello</artifactId>
  <version>1.0</version>
  <properties>
    <maven.compiler.release>17</maven.compiler.release>
    <project.build.sourceEncoding>UTF-8</project.build.sourceEncoding>
    <project.build.outputTimestamp>2023-11-14T22:13:20Z</project.build.outputTimestamp>
  </properties>
  <dependencies>
    <dependency><groupId>org.apache.commons</groupId><artifactId>commons-lang3</artifactId><version>debian</version></dependency>
    <dependency><groupId>junit</groupId><artifactId>junit</artifactId><version>4.x</version><scope>test</scope></dependency>
  </dependencies>
  <build>
    <resources><resource><directory>src/main/resources</directory><filtering>true</filtering></resource></resources>
    <plugins>
      <plugin>
        <artifactId>maven-jar-plugin</artifactId>
        <configuration><archive><manifest>
          <mainClass>org.example.Hello</mainClass>
          <addClasspath>true</addClasspath>
          <customClasspathLayout>lib/commons-lang3.jar</customClasspathLayout>
          <classpathLayoutType>custom</classpathLayoutType>
        </manifest></archive></configuration>
      </plugin>
    </plugins>
  </build>
</project>
"#,
        ),
        ("src/main/resources/greeting.txt", "hello\n"),
        ("src/main/resources/version.txt", "${project.version}\n"),
        (
            "src/main/java/org/example/Hello.java",
            r#"package org.example;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import org.apache.commons.lang3.text.WordUtils;

public class Hello {
    static String read(String name) throws IOException {
        try (var in = Hello.class.getResourceAsStream(name)) {
            return new String(in.readAllBytes(), StandardCharsets.UTF_8).strip();
        }
    }

    public static String greet(String name) throws IOException {
        return WordUtils.capitalize(read("/greeting.txt") + ", " + name + "!");
    }

    public static void main(String[] arguments) throws IOException {
        System.out.println(greet(arguments[0]));
    }
}
"#,
        ),
        (
            "src/test/java/org/example/HelloTest.java",
            r#"package org.example;

import static org.junit.Assert.assertEquals;

import java.nio.file.Files;
import java.util.stream.IntStream;
import org.junit.Test;

public class HelloTest {
    @Test
    public void greets() throws Exception {
        assertEquals("Hello, You!", Hello.greet("you"));
        assertEquals("1.0", Hello.read("/version.txt"));
    }

    @Test
    public void worksOnSeveralThreads() {
        assertEquals(499500, IntStream.range(0, 1000).parallel().sum());
    }

    @Test
    public void writesFiles() throws Exception {
        var file = Files.createTempFile("hello", ".txt");
        Files.writeString(file, "text");
        assertEquals("root", Files.getOwner(file).getName());
        Files.delete(file);
    }
}
"#,
        ),
    ],
};
