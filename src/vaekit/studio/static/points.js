// Points on a WebGL2 canvas. Data lie on the card; a frame sets two uniforms and draws.

const VERTEX = `#version 300 es
in vec2 position;
in vec4 colour;
uniform vec4 view; // scale x, y, offset x, y
uniform float size;
out vec4 paint;
void main() {
  gl_Position = vec4(position * view.xy + view.zw, 0.0, 1.0);
  gl_PointSize = size;
  paint = colour;
}`;

const FRAGMENT = `#version 300 es
precision highp float;
in vec4 paint;
uniform float alpha;
uniform float size;
out vec4 shown;
void main() {
  float edge = size > 3.0 ? smoothstep(0.5, 0.5 - 1.5 / size, length(gl_PointCoord - 0.5)) : 1.0;
  shown = vec4(paint.rgb, 1.0) * (alpha * paint.a * edge);
}`;

export class Points {
  /** Raises an Error where the browser has no WebGL2. */
  constructor(canvas) {
    this.canvas = canvas;
    const gl = canvas.getContext("webgl2", { antialias: false, premultipliedAlpha: true });
    if (!gl) throw new Error("This browser has no WebGL2, which the map needs. The other views work.");
    this.gl = gl;
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
    gl.useProgram(program);
    this.uniform = Object.fromEntries(["view", "size", "alpha"].map((name) => [name, gl.getUniformLocation(program, name)]));
    this.buffers = {};
    for (const [name, size, type, normalized] of [["position", 2, gl.FLOAT, false], ["colour", 4, gl.UNSIGNED_BYTE, true]]) {
      const at = gl.getAttribLocation(program, name);
      this.buffers[name] = gl.createBuffer();
      gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name]);
      gl.enableVertexAttribArray(at);
      gl.vertexAttribPointer(at, size, type, normalized, 0, 0);
    }
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  }

  set(name, array) {
    const { gl } = this;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name]);
    gl.bufferData(gl.ARRAY_BUFFER, array, gl.STATIC_DRAW);
    if (name === "position") this.count = array.length / 2;
  }

  /** Give the card's memory back, and the context: a browser has a few and no more. */
  close() {
    for (const buffer of Object.values(this.buffers)) this.gl.deleteBuffer(buffer);
    this.gl.getExtension("WEBGL_lose_context")?.loseContext();
  }

  /** view: {x, y, scale}, the middle in data units and pixels of the page a unit; size in such pixels. */
  draw({ x, y, scale }, size, alpha) {
    const { gl, canvas } = this;
    const density = canvas.width / Math.max(canvas.clientWidth, 1);
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    const [sx, sy] = [(2 * scale * density) / canvas.width, (2 * scale * density) / canvas.height];
    gl.uniform4f(this.uniform.view, sx, sy, -x * sx, -y * sy);
    gl.uniform1f(this.uniform.size, size * density);
    gl.uniform1f(this.uniform.alpha, alpha);
    gl.drawArrays(gl.POINTS, 0, this.count);
  }
}
