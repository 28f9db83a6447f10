/*
    The device page: asks /api/device every two seconds while the page is visible and shows the answer.

    Nothing is built from HTML text, so no value of the device can become markup, and the page runs under
    "Content-Security-Policy: default-src 'self'". When the device does not answer, the last figures stay, dimmed, with the
    time of the last answer, and asking goes on.

    Who has signed in sees the items of the database's model Store, which the device tells of each change.
*/
'use strict';

const PERIOD = 2000;        // milliseconds between an answer and the next question
const PATIENCE = 5000;      // milliseconds to wait for an answer
const SAMPLES = 60;         // points of the request chart, one each PERIOD
const ROWS = 100;           // items of Store that are shown

const rates = [];
let last = null;            // the last answer
let answered = 0;           // when it came (performance.now)
let timer = 0;
let asking = false;
let source = null;          // of the changes of Store
let follower = null;        // the user for whom it was opened
const items = new Map();    // those of Store, by key
let early = null;           // changes that came while they were loaded

const element = id => document.getElementById(id);

function show(id, text) {
    const target = element(id);
    if (target.textContent !== text) {
        target.textContent = text;
    }
}

function duration(seconds) {
    if (typeof seconds !== 'number') return 'unknown';
    const whole = Math.floor(seconds);
    const days = Math.floor(whole / 86400);
    const clock = [Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60, whole % 60]
        .map(part => String(part).padStart(2, '0')).join(':');
    if (days) return `${days} d ${clock}`;
    return whole < 60 ? `${whole} s` : clock;
}

function size(bytes) {
    if (typeof bytes !== 'number') return 'unknown';
    const units = ['B', 'KB', 'MB', 'GB', 'TB'];
    let unit = 0;
    while (bytes >= 1024 && unit < units.length - 1) {
        bytes /= 1024;
        unit++;
    }
    return `${bytes.toFixed(unit && bytes < 100 ? 1 : 0)} ${units[unit]}`;
}

function count(number, one, many) {
    const text = (number || 0).toLocaleString();
    return one ? `${text} ${number === 1 ? one : many}` : text;
}

function list(id, rows) {
    const shown = rows.filter(([, value]) => value !== undefined && value !== null && value !== '');
    const target = element(id);
    const key = JSON.stringify(shown);
    if (target.dataset.key === key) return;
    target.dataset.key = key;
    target.replaceChildren(...shown.flatMap(([name, value]) => {
        const term = document.createElement('dt');
        const detail = document.createElement('dd');
        term.textContent = name;
        detail.textContent = value;
        return [term, detail];
    }));
}

function chart() {
    const top = Math.max(1, ...rates) * 1.1;
    const points = rates.map((rate, index) => {
        const x = (SAMPLES - rates.length + index) * 2;
        return `${x} ${(30 - rate / top * 28).toFixed(2)}`;
    });
    if (points.length < 2) return;
    const line = 'M' + points.join('L');
    element('line').setAttribute('d', line);
    element('area').setAttribute('d', `${line}L118 30L${(SAMPLES - rates.length) * 2} 30Z`);
}

function render(report, now) {
    const {device = {}, agent = {}, host = {}, memory = {}, web = {}} = report;
    const name = device.name || host.name || 'Device';
    document.title = name;
    show('name', name);
    show('subtitle', [device.model || device.description || host.board, device.id].filter(Boolean).join(' · ') || 'Ioto device');
    show('uptime', duration(agent.uptime));
    show('host-uptime', duration(host.uptime));
    show('memory', size(memory.agent));
    if (memory.total) {
        const used = memory.total - memory.available;
        element('memory-bar').value = used / memory.total * 100;
        show('board-memory', `${size(used)} of ${size(memory.total)}`);
    } else {
        show('board-memory', 'unknown');
    }
    if (last && agent.pid === last.agent.pid && web.requests >= last.web.requests) {
        rates.push((web.requests - last.web.requests) / ((now - answered) / 1000));
        if (rates.length > SAMPLES) rates.shift();
        show('rate', rates[rates.length - 1].toFixed(1));
        chart();
    }
    show('requests', count(web.requests));
    show('errors', count(web.errors, 'error', 'errors'));
    show('connections', count(web.connections));
    show('accepted', count(web.accepted));
    show('sent', size(web.bytes_out));
    list('device', [
        ['Name', device.name],
        ['Claim ID', device.id],
        ['Model', device.model],
        ['Serial', device.serial],
        ['Firmware', device.version],
        ['Description', device.description],
        ['Host', host.name],
    ]);
    list('system', [
        ['Board', host.board],
        ['System', [host.system, host.machine].filter(Boolean).join(', ')],
        ['Load', typeof host.load === 'number' ? `${host.load.toFixed(2)} on ${count(host.cpus, 'core', 'cores')}` : ''],
        ['Agent', `Ioto ${agent.version}, profile ${agent.profile}`],
        ['Services', (agent.services || []).join(', ')],
        ['Python', agent.python],
    ]);
    const sign = element('sign');
    sign.hidden = !report.auth;
    if (report.auth) {
        const {user, login, logout, setup} = report.auth;
        show('sign', user ? `Sign out ${user}` : setup ? 'Set up' : 'Sign in');
        sign.href = user ? logout : login;
    }
    const stored = !document.hidden && (agent.services || []).includes('database');
    follow(stored && report.auth && report.auth.user || null);
    show('version', agent.version || '');
    show('updated', `Device time ${new Date(report.time * 1000).toLocaleString()}`);
}

function follow(user) {
    if (user === follower) return;          // also where this user was refused: asking again would not help
    follower = user;
    source?.close();
    element('store').hidden = true;
    if (!user) return;
    source = new EventSource('/api/db/Store');
    source.onopen = load;
    source.onmessage = message => {
        const change = JSON.parse(message.data);
        if (early) {
            early.push(change);
        } else {
            apply(change);
            table();
        }
    };
    source.onerror = event => {
        if (event.target === source && source.readyState === EventSource.CLOSED) element('store').hidden = true;
    };
}

async function load() {
    const from = source;
    early = [];
    try {
        const response = await fetch(`/api/db/Store?limit=${ROWS}`, {cache: 'no-store'});
        const found = await response.json();
        if (!response.ok || from !== source) return;
        items.clear();
        found.items.forEach(item => items.set(item.key, item));
        early.forEach(apply);
        element('store-note').textContent = found.next ? `The first ${ROWS} items.` : '';
        table();
        element('store').hidden = false;
    } catch (error) {                       // it is loaded when the source opens again
    } finally {
        if (from === source) early = null;
    }
}

function apply({event, item}) {
    if (event === 'remove' || event === 'expire') {
        items.delete(item.key);
    } else if (items.has(item.key) || items.size < ROWS) {
        items.set(item.key, item);
    }
}

function table() {
    element('items').replaceChildren(...[...items.keys()].sort().map(key => {
        const {value, updated} = items.get(key);
        const row = document.createElement('tr');
        for (const text of [key, typeof value === 'string' ? value : JSON.stringify(value),
                            updated ? new Date(updated).toLocaleTimeString() : '']) {
            row.insertCell().textContent = text;
        }
        return row;
    }));
}

function connected(yes, why) {
    const state = yes ? 'connected' : 'unreachable';
    const pill = element('state');
    if (pill.dataset.state !== state) {
        pill.dataset.state = state;
        pill.textContent = yes ? 'Connected' : 'Unreachable';
    }
    element('main').toggleAttribute('data-stale', !yes);
    element('main').setAttribute('aria-busy', String(!last));
    element('banner').hidden = yes;
    if (!yes) {
        const silence = duration((performance.now() - answered) / 1000);
        show('banner', `${why} ${last ? `The figures below are ${silence} old.` : ''} Trying again.`);
    }
}

async function ask() {
    if (asking) return;
    asking = true;
    clearTimeout(timer);
    const control = new AbortController();
    const limit = setTimeout(() => control.abort(), PATIENCE);
    try {
        const response = await fetch('/api/device', {cache: 'no-store', signal: control.signal});
        if (!response.ok) throw new Error(`The device refuses to answer (status ${response.status}).`);
        const report = await response.json();
        const now = performance.now();
        render(report, now);
        last = report;
        answered = now;
        connected(true);
    } catch (error) {
        const told = error instanceof Error && error.message.startsWith('The device');
        connected(false, told ? error.message : 'The device does not answer.');
    } finally {
        clearTimeout(limit);
        asking = false;
        if (!document.hidden) {
            timer = setTimeout(ask, PERIOD);
        }
    }
}

document.addEventListener('visibilitychange', () => {
    if (document.hidden) {
        clearTimeout(timer);
        follow(null);
    } else {
        ask();
    }
});

ask();
