"""What make_template_goldens.py renders: conversations for real templates, snippets for the semantics."""

import copy

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city.\nUse it for \"today\" only.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Name, e.g. <São Paulo>"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                "days": {"type": "integer", "minimum": 1, "default": 3},
                "where": {"type": "object", "properties": {"lat": {"type": "number"}, "lon": {"type": "number"}}},
                "tags": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["city"],
        },
    },
}
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "a + b",
        "parameters": {"type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
                       "required": ["a", "b"]},
    },
}
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def system(text):
    return {"role": "system", "content": text}


def chat(*messages, prompt=True, tools=None, documents=None, **more):
    return {"messages": list(messages), "tools": tools, "documents": documents,
            "add_generation_prompt": prompt, **TOKENS, **more}


CALL = assistant("", tool_calls=[{"id": "call00001", "type": "function", "function": {
    "name": "get_weather", "arguments": {"city": "Zürich", "days": 2, "where": {"lat": 47.37, "lon": -8.5}}}}])
TWO_CALLS = assistant("Let me see.", tool_calls=[
    {"id": "call00001", "type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 2.5}}},
    {"id": "call00002", "type": "function", "function": {"name": "get_weather", "arguments": {"city": "X"}}}])


def tool(text, call="call00001", name="get_weather"):
    return {"role": "tool", "content": text, "tool_call_id": call, "name": name}


LONG = [system("You are brief."), user("Hi"), assistant("Hello!"), user("And?"), assistant("Nothing."),
        user("Bye  ")]
THINK = [user("2+2?"), assistant("<think>\nadd them\n</think>\n\n4"), user("3+3?"),
         assistant("6", reasoning_content="easy"), user("Why?")]
PARTS = [{"role": "user", "content": [{"type": "text", "text": "Look: "}, {"type": "text", "text": "this"}]}]

CONVERSATIONS = [
    chat(user("Hello"), prompt=False),
    chat(user("Hello")),
    chat(system("Be kind."), user("Hello")),
    chat(*LONG),
    chat(*LONG[:-1], prompt=False),
    chat(system(""), user(""), assistant(""), user("")),
    chat(system("  sp\tace\n"), user("naïve 😀 日本語 \u2028 \u00a0<|im_end|></s>\\n{{ x }}"),
         assistant("\n été \n"), user("'\"&<>")),
    chat(user("Weather?"), tools=[WEATHER, ADD]),
    chat(system("Use tools."), user("Weather?"), CALL, tool('{"t": 21.5, "ok": true}'), assistant("21.5 °C"),
         user("Thanks"), tools=[WEATHER, ADD]),
    chat(user("Both"), TWO_CALLS, tool("3.5", name="add"), tool("sunny", "call00002"), tools=[ADD, WEATHER]),
    chat(*THINK),
    chat(*THINK[:4], prompt=False, enable_thinking=False, thinking=False),
    chat(user("Hello"), enable_thinking=True, thinking=True, reasoning_effort="high"),
    chat(*PARTS),
    chat(user("Cite."), documents=[{"title": "One", "text": "first text"}, {"title": "Two", "text": "second"}]),
    chat(assistant("I begin."), user("Odd order"), prompt=False),
    chat(system("Only system"), prompt=True),
    chat(user("a"), user("b"), prompt=False),
    chat(user("Weather?"), assistant(None, tool_calls=CALL["tool_calls"]), tool("21"), prompt=True, tools=[WEATHER]),
    chat(system("One."), system("Two."), user("Hi"), tool("stray"), assistant("")),
    chat(user("Hi"), tools=[], documents=[]),
    chat({"role": "system", "content": [{"type": "text", "text": "Sys"}]}, *PARTS, assistant("Seen."), user("é\u0301 ﬁ 🏳️‍🌈")),
    chat({"role": "developer", "content": "Dev rules."}, user("Hi"), assistant("Hello"), prompt=False),
    chat({"role": "user"}, {"role": "assistant", "content": None}),
    chat(prompt=True),
]


# White space control, comments, raw; rendered without context.
WITH_SPACE = [
    'a\n  {% if true %}\n  b\n  {% endif %}\nc',
    'a {%- if true -%} b {%- endif -%} c',
    'a  {%+ if true %}  b{%+ endif %}\n c',
    '{% if true %}\n\nx\n{% endif %}\n\n',
    'x\n{#- c -#}\n y {# d #}\n z',
    '  {# c #}\nx',
    " {{- ' a ' -}} \n b",
    '{{ 1 }}\n{{ 2 }}\n',
    '\t{% set x = 1 %}\t\n{{ x }}',
    '{% raw %}{{ x }}{% y %}{% endraw %}!',
    'a {%- raw -%} {{ b }} {%- endraw -%} c',
    '  {% raw %}\n z\n  {% endraw %}\nw',
    'a\r\nb\rc\n',
    'trailing\n\n',
    '{% for i in [1,2] %}\n  {{ i }}\n{% endfor %}\n',
    '{%- for i in [1,2] -%}\n  {{ i }}\n{%- endfor %}',
    '{% if true %}a{% endif +%}\nb',
    "{{ '}}' }}{{ {'a': {'b': 1}}['a']['b'] }}",
    'x {{- 1 }} y',
    '{{-1}} {{+1}} {{ -1 }}',
    '{#\nmulti\nline\n#}\nok',
    '  {%- set a = 1 %}\n  {{ a }}\n',
    '\xa0\u2003{%- if 1 %}x{% endif -%}\u3000 y',
    "{{ 'a' }}  \n  {% if 1 %}b{% endif %}  \n  c",
    '{% set x %}\n a\n{% endset %}[{{ x }}]',
    '{% if 1 -%}   x{% else %}y{% endif %}',
    'a{# - #}b',
    'a\n {#- x +#}\nb',
    "{{ 'it''s' 'joined' }}",
    '%}}{ } {',
    '# {not} {$}',
    'a {% raw -%}  b{% endraw %}',
    '{% raw +%}x{% endraw %}',
]

# Literals and how values print.
LITERALS = [
    '{{ 1_000 }} {{ 0x1F }} {{ 0b101 }} {{ 0o17 }} {{ 00 }}',
    '{{ 1.5 }} {{ 1e3 }} {{ 2.5e-3 }} {{ 1_0.0_1 }} {{ 1E5 }}',
    ('{{ 1e16 }} {{ 1e15 }} {{ 123456789012345680.0 }} {{ 0.0001 }} {{ 0.00001 }} {{ 1e22 }} {{ 5e-324 '
     '}} {{ 1.7976931348623157e308 }}'),
    '{{ 0.1 + 0.2 }} {{ 1/3 }} {{ 100.0 }} {{ -0.0 }} {{ 2/1 }} {{ 3.14159265358979 }}',
    "{{ 'a\\tb\\n\\x41\\u00e9\\U0001F600\\101\\q\\\\' }}",
    "{{ 'a\\\nb' }}",
    "{{ '\\é' }}",
    "{{ '\\x4' }}",
    '{{ \'it\\\'s\' }} {{ "q\\"q" }}',
    "{{ [1, 'a', 2.0, none, true, {'k': [1,]}, (1,), (1,2), ()] }}",
    "{{ {'a': 1, 'b': 'x', 3: none, 1.5: true, (1,2): 3} }}",
    "{{ {'a': 1, 'a': 2, 1: 'i', true: 't', 1.0: 'f'} }}",
    "{{ 'é\\u200b\\x07\\u2028\\U000e0001'|list }}",
    '{{ ["it\'s", \'say "x"\', \'it\\\'s "both"\', \'a\\\\b\', \'\\n\\t\\r\'] }}',
    '{{ true }} {{ True }} {{ none }} {{ None }} {{ false }}',
    '{{ [undefined_thing] }}',
    '{{ (1) }} {{ (1,) }} {{ () }} {{ 1, 2 }}',
    "{{ '日本'[0] }} {{ '😀é'[::-1] }} {{ 'añb'|length }}",
    '{{ 9223372036854775807 }}',
    "{{ namespace(a=1, b='x') }}",
    ('{{ range(3) }} {{ range(1, 10, 3)|list }} {{ range(5)[1:3] }} {{ range(5, 0, -2)|list }} {{ '
     'range(0)|length }}'),
    "{{ {'a': 1}.items() }} {{ {'a': 1}.keys() }} {{ {'a': 1}.values() }}",
    "{{ {} }} {{ [] }} {{ '' }}|",
    "{{ 'a' 'b' ~ 'c' }}",
    '{{ 1.e5 }}',
    '{{ 1..real }}',
    "{{ 'unclosed }}",
    "{{ '\\ud83d' }}",
    '{{ 0777 }}',
    '{{ 1__0 }}',
]

# Arithmetic, comparison, logic, undefined values.
OPERATORS = [
    ('{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % -3 }} {{ -7 % 3 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 2 ** 10 }} '
     '{{ 2 ** -1 }} {{ -2 ** 2 }}'),
    '{{ 2 ** 3 ** 2 }} {{ 2 ** 0.5 }} {{ 10 / 4 }} {{ 4 / 2 }} {{ true + true }} {{ 5.5 % 2 }} {{ -5.5 // 2 }}',
    '{{ 1 / 0 }}',
    '{{ 1 // 0 }}',
    '{{ 1 % 0 }}',
    '{{ 1.0 // 0.0 }}',
    "{{ 'a' + 1 }}",
    "{{ 1 + 'a' }}",
    '{{ [1] + (2,) }}',
    '{{ none + 1 }}',
    "{{ 'ab' * 3 }} {{ 3 * 'ab' }} {{ [1] * 2 }} {{ 'x' * -1 }}|",
    '{{ [1] + [2] }} {{ (1,) + (2,) }}',
    "{{ 'a' ~ 1 ~ none ~ true ~ 1.0 ~ [1] ~ nope }}",
    '{{ 1 + 2 ~ 3 + 4 }}',
    '{{ 1 ~ 2 * 3 }}',
    '{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 3 > 2 == true }}',
    "{{ 1 == 1.0 }} {{ 1 == true }} {{ '1' == 1 }} {{ none == false }}",
    ("{{ 'a' < 'b' }} {{ 'Z' < 'a' }} {{ 'é' > 'z' }} {{ [1,2] < [1,3] }} {{ (1,) <= (1,2) }} {{ [1] == "
     "[1.0] }} {{ {'a':1} == {'a':1.0} }}"),
    "{{ 1 < 'a' }}",
    '{{ none < 1 }}',
    '{{ {} < {} }}',
    "{{ 1 in [1,2] }} {{ 'b' in 'abc' }} {{ 'k' in {'k': 1} }} {{ 3 not in (1,2) }} {{ not 1 in [1] }}",
    "{{ 1 in 'abc' }}",
    '{{ 1 in 5 }}',
    "{{ 'a' in nope }} {{ '' in 'x' }}",
    '{{ [] in {} }}',
    "{{ 1 in range(3) }} {{ 1.5 in range(3) }} {{ 'a' in {'a':1}.keys() }}",
    "{{ not true and false or 'x' }} {{ 0 or '' or none }} {{ 1 and 2 }} {{ '' and 1 }}|",
    "{{ 'y' if 1 else 'n' }} {{ 'y' if 0 }}|{{ 'a' if 0 else 'b' if 0 else 'c' }}",
    "{{ -1|abs }} {{ +5 }} {{ -'a' }}",
    '{{ 2 * 3 + 4 - 1 }} {{ 2 + 3 * 4 }} {{ (2 + 3) * 4 }}',
    '{{ 9223372036854775807 + 0 }} {{ -9223372036854775807 - 1 }}',
    ("{{ '%s-%05.2f-%x-%r-%%' % ('a', 3.14159, 255, 'q') }} {{ '%(k)s' % {'k': 1} }} {{ '%5s|%-5s|%+d' "
     "% ('a','b',3) }}"),
    "{{ '%d' % 'x' }}",
    "{{ '%s %s' % 1 }}",
    "{{ '%s' % (1, 2) }}",
    "{{ '%g %e %G' % (1e10, 12345.678, 1e-10) }}",
    "{{ '%c%c' % (65, 'é') }} {{ '%o %X %i' % (8, 255, 3.9) }}",
    "{{ 1 if nope else 2 }} {{ nope == nope2 }} {{ nope == none }} {{ nope != '' }}",
    '{{ a.b.c }}',
    '{{ nope.b }}',
    "{{ nope['b'] }}",
    '{{ nope() }}',
    '{{ nope + 1 }}',
    '{{ nope < 1 }}',
    '{{ -nope }}',
    '{{ 1 is none }} {{ none is none }} {{ 2**62 }} {{ 3 ** 2 }}',
    "{{ 1 == 1 == 1 }} {{ 'a' 'b' == 'ab' }}",
    '{{ 0.1 == 0.1 }} {{ 1e308 * 10 }} {{ -1e308 * 10 }}',
    "{{ 'a' and nope }}|{{ nope or 'd' }}",
    '{{ 9007199254740993 == 9007199254740992.0 }} {{ 9007199254740993 > 9007199254740992.0 }}',
    "{{ [1, [2, (3, {'a': none})]] == [1, [2, (3, {'a': none})]] }}",
]

# Attributes, items, slices, methods of dict and list; with contexts of their own.
ACCESS = [
    ("{{ d.a }} {{ d['a'] }} {{ d['items'] }}|{{ d.zip }}|{{ d.items is callable }}",
     {'d': {'a': 1, 'items': 2}}),
    ("{{ d.get('a') }} {{ d.get('x') }} {{ d.get('x', 3) }} {{ d.get('n', 3) }}", {'d': {'a': 1, 'n': None}}),
    ("{{ l[0] }} {{ l[-1] }} {{ l[9] }}|{{ l.0 }} {{ l['0'] }}|{{ l[1.0] }}|{{ l[true] }}", {'l': [1, 2, 3]}),
    ('{{ l[1:] }} {{ l[:-1] }} {{ l[::-1] }} {{ l[::2] }} {{ l[5:] }} {{ l[-2:] }} {{ l[2:0:-1] }} {{ l[:] }}',
     {'l': [1, 2, 3, 4]}),
    ('{{ s[1:3] }} {{ s[::-1] }} {{ s[-3:] }} {{ s[10] }}|{{ s[:100] }} {{ s[::-2] }}', {'s': 'añ😀b日'}),
    ('{{ l[::0] }}', {'l': [1]}),
    ("{{ l['a':] }}", {'l': [1]}),
    ('{{ d[1:] }}', {'d': {}}),
    ('{{ n[0:1] }}', {'n': None}),
    ('{{ (1,2,3)[none:2] }}', {}),
    ('{{ d[[]] }}|{{ d[{}] }}', {'d': {'a': 1}}),
    ("{{ n.x }}|{{ n['x'] }}|{{ n[0] }}", {'n': None}),
    ('{{ n.x.y }}', {'n': None}),
    ('{{ d.x.y }}', {'d': {}}),
    ('{{ l[3].y }}', {'l': []}),
    ("{{ 5 .x }}|{{ 5['x'] }}", {}),
    ("{{ s.nope }}|{{ s['upper']() }}", {'s': 'a'}),
    ("{{ d._private }} {{ d['_private'] }}", {'d': {'_private': 1}}),
    ('{{ d.__class__ }}|{{ d.__len__ is defined }}', {'d': {}}),
    ("{{ ''.__class__.__mro__ }}", {}),
    ('{{ l.append(1) }}', {'l': []}),
    ("{{ d.update({'a': 1}) }}", {'d': {}}),
    ("{{ d.pop('a') }}", {'d': {'a': 1}}),
    ('{{ l.append }}|{{ l.append is defined }}|{{ l.sort is undefined }}', {'l': []}),
    ('{{ d.pop is defined }} {{ d.keys is defined }}', {'d': {}}),
    ('{{ l.index(2) }} {{ l.count(2) }}', {'l': [1, 2, 2]}),
    ('{{ l.index(9) }}', {'l': [1]}),
    (('{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{{ d.keys()|list }}{{ d.values()|list }}{{ '
      'd|list }}'),
     {'d': {'b': 1, 'a': [2]}}),
    ('{{ d.items()|length }} {{ d.keys()[0] }}|{{ d.items() is sequence }} {{ d.items() is iterable }}',
     {'d': {'a': 1}}),
    ("{{ d['a']['b'][0]['c'] }}", {'d': {'a': {'b': [{'c': 'deep'}]}}}),
    ("{{ d[1] }} {{ d['1'] }}|{{ d[true] }}", {'d': {'1': 's'}}),
    ("{{ {1: 'i'}[1.0] }} {{ {none: 'n'}[none] }}", {}),
    ('{{ x }}{{ x.y is defined }}', {'x': {'y': None}}),
    ('{{ d.copy() == d }}', {'d': {'a': 1}}),
    ('{{ l[0:2, 1] }}', {'l': [1]}),
    ("{{ 'abc'['1'] }}|{{ 'abc'[1] }}", {}),
    ("{{ {'a': {'b': 1}}.a.b }}", {}),
    ('{{ loop is defined }}', {}),
    ("{{ range is defined }} {{ dict(a=1) }} {{ dict([('x', 2)], y=3) }}", {}),
    ("{{ u|length }} {{ u|list }} {{ u|join(',') }}|{% for x in u %}x{% else %}none{% endfor %}", {}),
    ('{{ range(10000000) }}', {}),
    ('{{ range(1, 2, 0) }}', {}),
    ('{{ range() }}', {}),
]

# Names that a scope assigns before it mentions them hide the context's value from the start.
SCOPES = [
    "{% for q in 'ab' %}{{ i }}{% endfor %}{% set i = 1 %}{{ i }}",
    "{{ i }}{% for q in 'ab' %}{{ i }}{% endfor %}{% set i = 1 %}{{ i }}",
    "{% for q in 'ab' %}{{ i }}{% endfor %}{% if false %}{% set i = 1 %}{% endif %}{{ i }}",
    "{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% set i = 1 %}{{ m() }}",
    "{% for q in 'ab' %}{% for z in 'c' %}{{ i }}{% endfor %}{% set i = q %}{% for z in 'c' %}{{ i }}{% endfor %}{% endfor %}{{ i }}",
    "{% for q in 'ab' %}{% if loop.first %}{% set i = 5 %}{% endif %}{{ i }}{% endfor %}{{ i }}",
    "{% macro m() %}{% for q in 'a' %}{{ i }}{% endfor %}{% set i = 2 %}{{ i }}{% endmacro %}{{ m() }}{{ i }}",
    "{% set x %}{% for q in 'a' %}{{ i }}{% endfor %}{% set i = 2 %}{{ i }}{% endset %}{{ x }}{{ i }}",
    "{% for q in 'a' %}{{ i }}{% endfor %}{% set i %}block{% endset %}{{ i }}",
    "{% for q in 'a' %}{{ i }}{% endfor %}{% macro i() %}m{% endmacro %}{{ i() }}",
    "{% for q in 'a' %}{{ i.a }}{% endfor %}{% set i.a = 2 %}",
    "{% with %}{% for q in 'a' %}{{ i }}{% endfor %}{% set i = 2 %}{{ i }}{% endwith %}{{ i }}",
    "{% for i in [7] %}{{ i }}{% else %}{{ i }}{% endfor %}{{ i }}",
    "{% for q in [] %}{% else %}{% for z in 'a' %}{{ i }}{% endfor %}{% set i = 2 %}{{ i }}{% endfor %}{{ i }}",
    "{% generation %}{% for z in 'a' %}{{ i }}{% endfor %}{% set i = 2 %}{{ i }}{% endgeneration %}{{ i }}",
    "{% set i, j = i, 2 %}{{ i }}{{ j }}{% set ns = namespace(i=i) %}{% for q in 'a' %}{% set ns.i = ns.i + 1 %}{% endfor %}{{ ns.i }}",
]

# for, if, set, with, filter blocks, break and continue; syntax errors.
CONTROL = [
    ('{% for i in [1,2,3] %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ '
     'loop.length }}{{ loop.revindex }}{{ loop.revindex0 }} {% endfor %}'),
    '{% for i in [1,2,3] %}{{ loop.previtem }}<{{ i }}>{{ loop.nextitem }} {% endfor %}',
    "{% for i in [1,1,2] %}{{ loop.changed(i) }}{{ loop.cycle('a','b') }}{% endfor %}",
    '{% for a, b in [(1,2),(3,4)] %}{{ a }}{{ b }}{% endfor %}',
    '{% for a, (b, c) in [(1,(2,3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}',
    '{% for a, b in [1] %}{% endfor %}',
    '{% for a, b in [(1,2,3)] %}{% endfor %}',
    '{% for i in [] %}x{% else %}empty{% endfor %}',
    '{% for i in [1,2,3,4] if i is odd %}{{ i }}{{ loop.last }}{{ loop.length }} {% else %}e{% endfor %}',
    '{% for i in [1,2] if i > 5 %}x{% else %}none{% endfor %}',
    ('{% for i in range(6) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif '
     '%}{{ i }}{% endfor %}'),
    '{% for i in [1] %}{% continue %}{% else %}else{% endfor %}',
    '{% for i in [1] %}{% break %}{% else %}else{% endfor %}',
    ('{% for x in tree recursive %}{{ x.n }}{{ loop.depth }}{% if x.c %}[{{ loop(x.c) }}]{% endif %}{% '
     'endfor %}'),
    ('{% for i in [1,2] %}{% for j in [3,4] %}{{ i }}{{ j }}{{ loop.index }}{% endfor %}{{ loop.index '
     '}};{% endfor %}'),
    '{% set x = 1 %}{% for i in [1,2] %}{{ x }}{% set x = 5 %}{{ x }}{% endfor %}{{ x }}',
    ('{% set ns = namespace(n=0) %}{% for i in [1,2,3] %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n '
     '}} {{ ns.z }}|'),
    '{% if false %}{% set y = 1 %}{% endif %}{{ y }}|{% if true %}{% set y = 2 %}{% endif %}{{ y }}',
    "{% for i in 'ab' %}{{ i }},{% endfor %}{% for k in {'x':1,'y':2} %}{{ k }}{% endfor %}",
    '{% for i in 5 %}{% endfor %}',
    '{% for i in none %}{% endfor %}',
    "{% if 0 %}a{% elif '' %}b{% elif [0] %}c{% else %}d{% endif %}",
    '{% set a, b = 1, 2 %}{{ a }}{{ b }}',
    '{% set a = 1, 2 %}{{ a }}',
    '{% set x %}hello {{ 1 }}{% endset %}{{ x }}{{ x is string }}',
    '{% set x | upper | trim %} hi {% endset %}[{{ x }}]',
    '{% set x = 1 %}{% set y %}{% set x = 2 %}{{ x }}{% endset %}{{ y }}{{ x }}',
    "{% filter upper %}ab{{ 'c' }}{% endfilter %}",
    "{% filter replace('a','b') | upper %}aa{% endfilter %}",
    '{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a }}|',
    '{% with %}{% set q = 1 %}{{ q }}{% endwith %}{{ q }}|',
    '{% set a = 5 %}{% with a = 1, b = a %}{{ b }}{% endwith %}',
    "{% print 1, 'a' %}",
    '{% break %}',
    '{% for i in [1,2] %}{% set loop = 1 %}{% endfor %}',
    '{% for loop in [1] %}{% endfor %}',
    '{% set ns.a = 1 %}',
    '{% set d = {} %}{% set d.a = 1 %}',
    '{% set ns = namespace() %}{% set ns.a, b = 1, 2 %}{{ ns.a }}{{ b }}',
    '{% set true = 1 %}',
    "{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a }}{{ ns.b }}{{ ns['a'] }}",
    '{% for i in [1,2,3] %}{% if loop.last %}L{% elif not loop.first %}M{% endif %}{% endfor %}',
    '{% for i in [3,1,2]|sort %}{{ i }}{{ loop.length }}{% endfor %}',
    "{% for i in [1,2]|map('string') %}{{ loop.length }}{{ loop.revindex }}{{ i }}{{ loop.last }} {% endfor %}",
    '{% if true: %}x{% endif %}',
    '{% for i in [1]: %}x{% endfor %}',
    '{% if x is defined and x %}a{% endif %}b',
    '{% for x in [1,2,3] %}{% for y in [1] %}{% break %}{% endfor %}{{ x }}{% endfor %}',
    '{% set x = [1,2,3] %}{% set x = x + [4] %}{{ x }}',
    '{% for i in [1,2] %}{{ i }}{% if not loop.last %}, {% endif %}{% endfor %}',
    '{% for m in [1,2,3] %}{{ loop.nextitem is defined }}{{ loop.previtem is defined }}{% endfor %}',
    ('{% set ns = namespace(f=false) %}{% for i in [1,2,3] if not ns.f %}{{ i }}{% set ns.f = i == 2 '
     '%}{% endfor %}'),
    '{% for i in [1,2,3] %}{% set outer = loop %}{% for j in [1] %}{{ outer.index }}{% endfor %}{% endfor %}',
    '{% endif %}',
    '{% if true %}',
    '{% for %}',
    '{% unknown %}',
    '{{ }}',
    '{% %}',
    '{{ 1 + }}',
    '{{ (1 }}',
    '{{ [1 }}',
    '{{ a b }}',
    '{{ 1 | }}',
    "{{ 'a'|nofilter }}",
    "{{ 'a' is notest }}",
    "{% if false %}{{ 'a'|nofilter }}{% endif %}ok",
    "{% if true %}{{ 'a'|nofilter }}{% endif %}",
    "{{ ('a'|nofilter) if false else 'fine' }}",
    "{% include 'x' %}",
    '{% for i in [1] %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}',
    '{% for i in [1,2] %}{% set x %}{% break %}{% endset %}{% endfor %}done',
    '{{ loop.index }}',
    '{% for i in [1,2] %}{{ loop.nope }}|{% endfor %}',
    '{% do 1 %}',
    '{# unclosed',
    "{{ 'x' if }}",
    '{{ {1 2} }}',
    '{{ f(a=1, 2) }}',
    '{{ f(**{}, *[]) }}',
    "{{ x.'a' }}",
]

# Macros, call blocks, generation blocks.
MACROS = [
    "{% macro m(a, b=2, c='x') %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(c=5, a=6) }}",
    '{% macro m(a) %}[{{ a }}]{{ a is defined }}{% endmacro %}{{ m() }}',
    '{% macro m() %}x{% endmacro %}{{ m(1) }}',
    '{% macro m() %}x{% endmacro %}{{ m(q=1) }}',
    '{% macro m(a, b=a) %}{{ b }}{% endmacro %}{{ m(3) }}',
    '{% macro m(x=x) %}{{ x }}|{% endmacro %}{% set x = 4 %}{{ m() }}',
    '{% macro f(n) %}{% if n > 0 %}{{ n }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}',
    '{% macro m() %}{{ v }}{% endmacro %}{% set v = 1 %}{{ m() }}{% set v = 2 %}{{ m() }}',
    '{% macro m() %}{% set z = 1 %}{{ z }}{% endmacro %}{{ m() }}{{ z }}|',
    ('{% macro outer() %}{% macro inner() %}i{% endmacro %}{{ inner() }}o{% endmacro %}{{ outer() }}{{ '
     'inner is defined }}'),
    '{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, a=3) }}',
    '{% macro m() %}({{ caller() }}){% endmacro %}{% call m() %}body{% endcall %}',
    "{% macro m() %}{{ caller('x', y=2) }}{% endmacro %}{% call(a, y) m() %}{{ a }}{{ y }}{% endcall %}",
    '{% macro m(x) %}{{ x }}{{ caller is defined }}{% endmacro %}{{ m(1) }}',
    "{% macro m() %}  a  {% endmacro %}[{{ m() | trim }}] {{ m() ~ 'b' }} {{ m()|length }}",
    '{% set f = m %}{% macro m() %}q{% endmacro %}{{ f is defined }} {{ m is callable }}',
    '{% macro m(a, a) %}{% endmacro %}',
    '{% macro m(a=1, b) %}{% endmacro %}',
    '{% for i in [1,2] %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}',
    ('{% macro m(l) %}{% for x in l %}{% if x is string %}{{ x }}{% else %}<{{ m(x) }}>{% endif %}{% '
     "endfor %}{% endmacro %}{{ m(['a', ['b', ['c']], 'd']) }}"),
    '{{ m() }}{% macro m() %}late{% endmacro %}',
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(*[7]) }}{{ m(**{'a': 8}) }}",
    '{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}',
    "{% macro m(x) -%}\n  {{ x }}\n{%- endmacro %}\n{{ m('y') }}",
    ('{% macro m() %}{% set ns.v = ns.v + 1 %}{% endmacro %}{% set ns = namespace(v=0) %}{{ m() }}{{ '
     'm() }}{{ ns.v }}'),
    '{% if true %}{% macro m() %}in{% endmacro %}{% endif %}{{ m() }}',
    '{% macro loopy() %}{{ loop is defined }}{% endmacro %}{% for i in [1] %}{{ loopy() }}{% endfor %}',
    '{% macro m(a, b=none) %}{{ a }}{{ b is none }}{% endmacro %}{{ m(none) }}',
    '{% call nope() %}{% endcall %}',
    '{% call 1 %}{% endcall %}',
    'a{% generation %}b{% endgeneration %}c',
    "{% for i in 'ab' %}é{% generation %}{{ i }}ü\n{% endgeneration %}\n{% endfor %}",
    '{% generation %}{% set x = 1 %}{{ x }}{% endgeneration %}{{ x }}|',
    '{%- generation -%} a {%- endgeneration -%} ',
    '{% generation %}{% endgeneration %}x',
    '{% generation %}x',
    '{% set y = 1 %}{% generation %}{{ y }}{% set y = 2 %}{% endgeneration %}{{ y }}',
    '{% for i in [1,2] %}{% generation %}{{ loop.index }}{% endgeneration %}{% endfor %}',
]

# Filters.
FILTERS = [
    ("{{ [1,{'a':'é'}]|tojson }} {{ {'b':1,'a':[]}|tojson(sort_keys=true) }} {{ "
     '\'é😀\\u2028\\x7f\'|tojson(ensure_ascii=true) }} {{ \'é"\\\\\\n\\x01/<>&\'|tojson }}'),
    "{{ {'a':[1,2],'b':{},'c':[],'d':{'e':none}}|tojson(indent=2) }}",
    "{{ [1,[2]]|tojson(indent='--') }} {{ [1]|tojson(indent=0) }}",
    "{{ {'a':[1,2]}|tojson(separators=(',',':')) }} {{ [1,2]|tojson(separators=(';','=')) }}",
    "{{ [1,2]|tojson(indent=1, separators=(', ', ': ')) }}",
    ('{{ {1:1, true:2, none:3, 1.5:4}|tojson }} {{ 1.0|tojson }} {{ 1e100|tojson }} {{ true|tojson }} '
     "{{ none|tojson }} {{ 'x'|tojson }} {{ (1,2)|tojson }}"),
    '{{ nope|tojson }}',
    '{{ {(1,2): 3}|tojson }}',
    '{{ range(3)|tojson }}',
    "{{ [1]|map('string')|tojson }}",
    "{{ {'b':1, 1:2}|tojson(sort_keys=true) }}",
    "{{ {'z':{'y':1,'x':2}}|tojson(true, 4, none, true) }}",
    "{{ ' a b '|trim }}| {{ 'xxaxx'|trim('x') }} {{ '\\u3000é\\u00a0'|trim }}|",
    ('{{ \'aXb\'|lower }} {{ \'aßé\'|upper }} {{ \'hello wORLD\'|capitalize }} {{ "they\'re bill\'s '
     '(x)-y"|title }} {{ \'ΑΣ ΑΣΑ Σ\'|lower }} {{ \'İ\'|lower|length }} {{ \'ŉǰ\'|upper }} {{ \'ﬁn '
     "ǆ'|capitalize }}"),
    ("{{ nope|default('d') }} {{ none|default('d') }} {{ ''|default('d', true) }} {{ nope|d }}| {{ "
     '0|default(5, boolean=true) }}'),
    ("{{ [1,2]|join }} {{ [1,none,'a']|join(', ') }} {{ 'abc'|join('-') }} {{ "
     "[{'a':1},{'a':2}]|join('|', attribute='a') }} {{ {'x':1}|join }}"),
    '{{ 5|join }}',
    ("{{ [3,1,2]|sort }} {{ ['b','A','c']|sort }} {{ ['b','A']|sort(case_sensitive=true) }} {{ "
     '[1,2]|sort(reverse=true) }}'),
    ("{{ [{'a':2,'n':1},{'a':1,'n':2},{'a':2,'n':0}]|sort(attribute='a') }} {{ "
     "[{'a':2,'n':1},{'a':2,'n':0}]|sort(attribute='a,n')|map(attribute='n')|list }}"),
    "{{ [1,'a']|sort }}",
    ("{{ {'b':1,'A':2}|dictsort }} {{ {'b':1,'a':2}|dictsort(by='value') }} {{ "
     "{'b':1,'a':2}|dictsort(reverse=true) }} {{ {'b':1,'A':2}|dictsort(true) }}"),
    "{{ {'a':1}|dictsort(by='x') }}",
    "{{ {'a':1,'b':2}|items|list }} {{ nope|items|list }}",
    '{{ [1]|items|list }}',
    ("{{ [1,2,3,4]|select('odd')|list }} {{ [1,2,3]|reject('equalto', 2)|list }} {{ "
     "[0,1,'']|select|list }} {{ ['a',1]|select('string')|list }}"),
    ("{{ u|selectattr('r','equalto','x')|list|length }} {{ "
     "[{'r':'x'},{'r':'y'},{}]|selectattr('r','equalto','x')|list }} {{ "
     "[{'r':1},{}]|selectattr('r')|list }} {{ [{'r':1},{}]|rejectattr('r','defined')|list }} {{ "
     "[{'r':1}]|selectattr('r','in',[1])|list }}"),
    ("{{ ['a','b']|map('upper')|list }} {{ [{'a':{'b':1}}]|map(attribute='a.b')|list }} {{ "
     "[{}]|map(attribute='a', default='z')|list }} {{ ['1','x']|map('int', default=7)|list }} {{ "
     "[[1,2]]|map('first')|list }} {{ [[5]]|map(attribute=0)|list }}"),
    "{{ [1]|map('nofilter')|list }}",
    '{{ [1]|map|list }}',
    "{{ [1]|select('nope')|list }}",
    ("{{ [1,2,1,'a','A']|unique|list }} {{ ['a','A']|unique(true)|list }} {{ "
     "[{'k':1},{'k':1}]|unique(attribute='k')|list }}"),
    "{{ 'abc'|first }}{{ 'abc'|last }} {{ []|first }}| {{ [1,2]|last }} {{ {'a':1}|first }}",
    ("{{ [3,1]|min }} {{ [3,1]|max }} {{ []|min }}| {{ ['b','A']|min }} {{ ['b','A']|max }} {{ "
     "[{'v':2},{'v':1}]|min(attribute='v') }}"),
    "{{ [1,2.5]|sum }} {{ [{'v':2},{'v':1}]|sum(attribute='v') }} {{ [[1],[2]]|sum(start=[]) }}",
    "{{ ['a']|sum }}",
    ("{{ '42'|int }} {{ '4.7'|int }} {{ 'x'|int }} {{ 'x'|int(9) }} {{ '0x1A'|int(base=16) }} {{ "
     "'1010'|int(base=2) }} {{ 3.9|int }} {{ -3.9|int }} {{ none|int }} {{ ' 7 '|int }} {{ '1_0'|int }} "
     "{{ true|int }} {{ 'inf'|int }}"),
    ("{{ '1.5'|float }} {{ 'x'|float }} {{ '1e3'|float }} {{ 3|float }} {{ 'nan'|float }} {{ "
     "'-inf'|float }} {{ ' 2_0.5 '|float }} {{ none|float(1) }}"),
    '{{ nope|int }}',
    ("{{ 2.5|round }} {{ 3.5|round }} {{ 2.675|round(2) }} {{ 2.1|round(method='ceil') }} {{ "
     "-2.1|round(0,'floor') }} {{ 42|round }} {{ 1234.567|round(-2) }} {{ 2.55|round(1, 'ceil') }}"),
    "{{ 'x'|round }}",
    '{{ -5|abs }} {{ -1.5|abs }}',
    ("{{ 'a\\nb\\n\\nc'|indent }}| {{ 'a\\nb'|indent(2, true) }}| {{ 'a\\n\\nb'|indent(2, blank=true) "
     "}}| {{ 'a\\nb'|indent('>') }}| {{ 'a\\n'|indent }}|"),
    ("{{ 'foo bar baz qux'|truncate(9) }} {{ 'foo bar baz qux'|truncate(9, true) }} {{ 'foo bar baz "
     "qux'|truncate(11) }} {{ 'foo bar baz qux'|truncate(9, false, '..', 0) }}"),
    "{{ 'a b-c d_e'|wordcount }} {{ 'x'|center(5) }}| {{ 'ab'|center(5) }}|",
    "{{ 'aaa'|replace('a','b',2) }} {{ 'abc'|replace('','-') }} {{ 123|replace(2,'x') }}",
    "{{ 5|string }} {{ [1]|string }} {{ nope|string }}| {{ 'a'|string }}",
    ('{{ \'<a&"\\\'>\'|e }} {{ \'<\'|safe }} {{ (\'<\'|safe) + \'<\' }} {{ \'<\' + (\'>\'|safe) }} {{ '
     "('<'|safe) ~ '<' }} {{ ['<'|safe]}} {{ '<'|escape|escape }} {{ '<'|safe|upper ~ '&' }} {{ "
     "('<'|safe) is escaped }} {{ '<'|forceescape }}"),
    ("{{ [1,2,3]|reverse|list }} {{ 'añ'|reverse }} {{ {'a':1,'b':2}|reverse|list }} {{ "
     "(1,2)|map('string')|reverse }}"),
    ("{{ [1,2,3,4,5]|batch(2)|list }} {{ [1,2,3]|batch(2,'x')|list }} {{ [1,2,3,4,5]|slice(3)|list }} "
     "{{ [1,2,3,4,5]|slice(3,'x')|list }} {{ [1,2]|batch(0)|list }}"),
    ("{{ [{'k':'b','v':1},{'k':'a','v':2},{'k':'b','v':3}]|groupby('k') }} {% for g in "
     "[{'k':1},{'k':2},{'k':1}]|groupby('k') %}{{ g.grouper }}:{{ g.list|length }} {% endfor %}"),
    "{% for k, l in [{'k':'A'},{'k':'a'}]|groupby('k') %}{{ k }}{{ l|length }}{% endfor %}",
    "{{ '%s %s'|format(1, 'b') }} {{ '%(a)s'|format(a=2) }}",
    "{{ {'a':1}|attr('a') }}|{{ 'x'|attr('upper') is defined }}",
    "{{ 'abc'|length }} {{ {'a':1}|length }} {{ [1,2]|count }} {{ 5|length }}",
    "{{ 'abc'|list }} {{ {'b':1}|list }} {{ 5|list }}",
    "{% set g = [1,2,3]|select('odd') %}{{ g|list }}{{ g|list }}",
    "{% set g = [1,2]|map('abs') %}{{ g is iterable }}{{ g is sequence }}{{ g is defined }}{{ true if g }}",
    "{{ ([1]|map('abs'))|length }}",
    "{{ [1,2]|map('abs') == [1,2] }}",
    "{{ 'a'|upper|lower|upper }} {{ 'x'|upper() }}",
    "{{ 'a'|trim(1) }}",
    "{{ 'a'|upper(1) }}",
    "{{ 'a'|replace('a') }}",
    "{{ 'a'|default(x=1) }}",
    "{{ [none, 1]|map('default', 'q')|list }}",
    "{{ ['x', 1]|map('tojson')|join(',') }} {{ [[3,1],[2]]|map('sort')|list }}",
    "{{ 'ab'|map('upper')|join }}",
    "{{ 'a,b'|replace(',', ';')|upper ~ '!' }}",
    "{{ (1.0, 2)|join(' ') }} {{ [true]|join }} {{ [[1]]|join }}",
]

# Tests.
TESTS = [
    ("{% for v in [1, 1.5, 'a', none, true, [], (1,), {}, nope, range(2)] %}{{ v is string }}{{ v is "
     'mapping }}{{ v is sequence }}{{ v is iterable }}{{ v is number }}{{ v is integer }}{{ v is float '
     '}}{{ v is boolean }}{{ v is none }}{{ v is defined }}{{ v is undefined }}{{ v is true }}{{ v is '
     'false }}{{ v is callable }}\n{% endfor %}'),
    "{{ 3 is odd }} {{ 4 is even }} {{ 6 is divisibleby 3 }} {{ 6 is divisibleby(4) }} {{ 'a' is odd }}",
    ('{{ 1 is eq 1 }} {{ 1 is ne 2 }} {{ 1 is lt 2 }} {{ 2 is ge(2) }} {{ 2 is gt 1 }} {{ 1 is le 1 }} '
     '{{ 1 is equalto(1.0) }} {{ 1 is greaterthan 0 }}'),
    "{{ 'abc' is lower }} {{ 'ABC' is upper }} {{ '1' is lower }} {{ 'aB' is not lower }}",
    "{{ 1 is in [1] }} {{ 'a' is in 'abc' }} {{ 5 is not in [1] }}",
    '{{ none is sameas none }} {{ true is sameas 1 }} {{ 1 is sameas 1 }} {{ [] is sameas [] }}',
    "{{ 'upper' is filter }} {{ 'x' is filter }} {{ 'odd' is test }}",
    '{{ not 1 is odd }} {{ 1 is not odd }} {{ 1 is odd and 2 is even }} {{ 1 is odd or nope.x }}',
    '{{ x is defined is true }}',
    "{{ 'a' is string if true else 1 }}",
    "{{ 1 is string }} {{ 'a' is string == true }}",
    "{{ [1,2] is sequence and 'a' is not mapping }}",
    "{{ 1 if 'x' is defined else 2 }}",
    "{{ d.a is defined }} {{ d.b is defined }} {{ d['a'] is none }} {{ d.a.b is defined }}",
    '{{ nope.a is defined }}',
    '{{ 5 is divisibleby 0 }}',
    '{{ 1 is in 5 }}',
    "{{ 'a' is eq }}",
    '{{ -1 is odd }} {{ 2.0 is even }} {{ true is odd }}',
]

# Methods of str and the global functions.
METHODS = [
    ("{{ ' a '.strip() }}|{{ 'xaax'.strip('x') }} {{ 'xxa'.lstrip('x') }} {{ 'axx'.rstrip('x') }} {{ ' "
     "\\n a'.lstrip() }} {{ 'abcba'.strip('ab') }} {{ 'a'.strip(none) }}"),
    ("{{ 'a,b,,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a b c'.split(' ', 1) }} {{ 'a b "
     "c'.split(maxsplit=1) }} {{ ''.split() }} {{ ''.split(',') }} {{ 'a b c'.rsplit(' ', 1) }} {{ ' a "
     "b  c '.rsplit(none, 1) }} {{ 'a<x>b<x>c'.split('<x>')[-1] }}"),
    "{{ 'a'.split('') }}",
    "{{ 'a\\nb\\r\\nc\\x0bd\\n'.splitlines() }} {{ 'a\\nb'.splitlines(true) }} {{ ''.splitlines() }}",
    ("{{ 'abc'.startswith('ab') }} {{ 'abc'.endswith(('x','c')) }} {{ 'abc'.startswith('b', 1) }} {{ "
     "'abc'.startswith('') }} {{ 'abc'.endswith('ab', 0, 2) }} {{ 'ab'.startswith('', 5) }}"),
    "{{ 'abc'.startswith(1) }}",
    ("{{ 'aXbX'.replace('X','-') }} {{ 'aaa'.replace('a','b',1) }} {{ 'ab'.replace('','.') }} {{ "
     "'ab'.replace('','.',2) }} {{ 'aaa'.replace('aa','b') }}"),
    ("{{ 'abcabc'.find('c') }} {{ 'abcabc'.rfind('c') }} {{ 'é😀x'.find('x') }} {{ 'a'.find('z') }} {{ "
     "'abc'.index('b') }} {{ 'abab'.count('ab') }} {{ 'aaa'.count('') }} {{ 'abcabc'.find('c', 3) }} {{ "
     "'abcabc'.find('a', 1, -1) }} {{ 'abc'.rindex('c') }}"),
    "{{ 'a'.index('z') }}",
    ('{{ \'aB ß\'.upper() }} {{ \'ÀΣ\'.lower() }} {{ "it\'s a-b 3x".title() }} {{ \'hELLO '
     "wORLD'.capitalize() }} {{ 'aBß'.swapcase() }} {{ 'Straße'.casefold() }}"),
    "{{ ','.join(['a','b']) }} {{ ''.join([]) }}| {{ '-'.join('abc') }} {{ ', '.join({'x':1,'y':2}) }}",
    "{{ ','.join([1]) }}",
    ("{{ 'a=b=c'.partition('=') }} {{ 'a=b=c'.rpartition('=') }} {{ 'abc'.partition('x') }} {{ "
     "'abc'.rpartition('x') }}"),
    "{{ 'pre_x'.removeprefix('pre_') }} {{ 'x.py'.removesuffix('.py') }} {{ 'x'.removesuffix('') }}",
    ("{{ 'a'.ljust(3) }}|{{ 'a'.rjust(3,'*') }}|{{ 'ab'.center(5,'-') }}|{{ 'a'.center(4,'-') }}|{{ "
     "'-42'.zfill(5) }}|{{ 'é'.ljust(2,'日') }}"),
    ("{{ 'abc'.isalpha() }} {{ 'a1'.isalnum() }} {{ '12'.isdigit() }} {{ '½'.isnumeric() }} {{ "
     "'²'.isdigit() }} {{ ' '.isspace() }} {{ ''.isspace() }} {{ 'Ab C'.istitle() }} {{ 'AB'.isupper() "
     "}} {{ 'ab1'.islower() }} {{ '1'.islower() }} {{ 'é'.isascii() }} {{ '\\n'.isprintable() }} {{ "
     "'٣'.isdecimal() }} {{ 'é日'.isalpha() }}"),
    ("{{ '{} {}'.format(1, 'a') }} {{ '{0}{1}{0}'.format('x','y') }} {{ "
     "'{n:>5}|{n:<5}|{n:^5}'.format(n='ab') }} {{ '{:.2f} {:05d} {:,} {:x} {:+d}'.format(3.14159, 42, "
     "1234567, 255, 3) }} {{ '{{}}'.format() }} {{ '{a[b]} {l[0]}'.format(a={'b':1}, l=[2]) }} {{ "
     "'{!r}'.format('q') }} {{ '{:*^7}'.format('a') }} {{ '{:.1%}'.format(0.256) }} {{ '{:e} "
     "{:g}'.format(12345.678, 0.00001) }} {{ '{:.3}'.format('abcdef') }}"),
    "{{ '{}'.format() }}",
    "{{ '{x}'.format() }}",
    "{{ '{'.format() }}",
    "{{ '{:d}'.format('a') }}",
    "{{ '{:.2d}'.format(1) }}",
    "{{ 'a'.nope() }}",
    "{{ 'a'.strip(1) }}",
    "{{ 'a'.upper(1) }}",
    "{{ 'a b'.split(' ')[0].upper() }} {{ ('a' ~ 'b').upper() }} {{ 'x'.upper().lower() }}",
    "{{ content.split('</think>')[-1].lstrip('\\n') }}",
    "{{ d.get('k', {}).get('z', 'dflt') }} {{ d.get('k') }} {{ (d.get('q') or 'alt') }}",
    '{{ d.get() }}',
    '{{ [1,2].copy() }} {{ (1,2,1).count(1) }} {{ (1,2).index(2) }}',
    ("{% set c = cycler('a','b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ "
     'c.reset() }}{{ c.next() }}'),
    "{% set j = joiner('; ') %}{% for i in [1,2,3] %}{{ j() }}{{ i }}{% endfor %}",
    '{{ cycler() }}',
    "{{ strftime_now('%Y-%m-%d %d %b %Y %H:%M:%S %A %B %j %p %I %y %% %a %-d %-m %e') }}",
    "{{ strftime_now('%q %f %Z|%z|') is string }}",
    '{{ strftime_now(1) }}',
    "{{ raise_exception('stop: ' ~ 1) }}",
    '{{ raise_exception() }}',
    "{% if false %}{{ raise_exception('no') }}{% endif %}fine",
    "{{ dict(a=1).items()|list }} {{ namespace(x=1).x }} {{ dict({'a': 1}, b=2) }}",
    '{{ namespace(_x=1)._x }}',
    "{{ 'é'.upper() ~ 'É'.lower() }}",
    ("{{ 'a\\tb'.split('\\t') }} {{ '\\x1c'.isspace() }} {{ 'a\\x1cb'.split() }} {{ '\\u200b "
     "a'.strip()|length }}"),
]

# What a snippet finds in its context: those of these names that its text contains.
COMMON = {
    'tree': [{'n': 'a', 'c': [{'n': 'b', 'c': [{'n': 'c'}]}, {'n': 'd'}]}, {'n': 'e'}],
    'd': {'a': None, 'k': {'y': 1}},
    'content': '<think>\nhm\n</think>\n\nanswer',
    'u': [{'r': 'x'}, {'r': 'y'}],
    'x': 7,
}


def snippets():
    """(template, context) pairs."""
    for source in WITH_SPACE:
        yield source, {}
    for group in (LITERALS, OPERATORS, CONTROL, MACROS, FILTERS, TESTS, METHODS):
        for source in group:
            yield source, {name: value for name, value in COMMON.items() if name in source}
    for source in SCOPES:
        yield source, {"i": 3}
    yield from ACCESS


def micro_cases():
    seen = set()
    for source, context in snippets():
        if source not in seen:
            seen.add(source)
            yield source, copy.deepcopy(context)
