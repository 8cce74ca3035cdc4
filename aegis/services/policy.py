"""Which tool calls are allowed: the manifest's own words and the node's security contexts, asked together.

Every layer must allow a call: the manifest's `tools`; its own security context, when the one it names is among its own;
the node's context of that name, or else the node's `default`, which so holds for agents that bring their own; and for
what has a URL, the manifest's network policy. A node without a `default` restricts nothing further.

The rule to know: `ToolBox.call` is the only caller of `decide`, so a decision is made, counted and told once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from aegis.domain.capabilities import Judged, Touched, judge, judge_name, rule_of
from aegis.domain.contexts import DEFAULT_CONTEXT, RateLimit, SecurityContext
from aegis.domain.hosts import network_ruling, url_host, url_port
from aegis.domain.manifest import AgentManifest
from aegis.domain.policy import tool_allowed
from aegis.errors import NotFound
from aegis.ports import Clock
from aegis.services.rates import RateLimits


@dataclass(frozen=True, slots=True)
class Decision:
    """`rules`: what decided. `refusal`: why not, in words the model can act on; "" is allowed."""

    rules: tuple[str, ...]
    refusal: str = ""

    @property
    def allowed(self) -> bool:
        return not self.refusal


@dataclass(frozen=True, slots=True)
class Layer:
    origin: Literal["node", "manifest"]
    context: SecurityContext

    def refused(self, judged: Judged) -> Decision:
        return Decision((f"{self.origin}: {judged.rule}",), judged.refusal)

    def rule(self, number: int) -> str:
        return f"{self.origin}: {rule_of(self.context, number)}"

    def limit(self, number: int) -> RateLimit:
        return self.context.capabilities[number].rate_limit


class ToolPolicy:
    """The node's security contexts. Without any, manifests alone decide."""

    def __init__(self, contexts: Iterable[SecurityContext] = ()) -> None:
        self._contexts = {context.name: context for context in contexts}

    def layers(self, manifest: AgentManifest) -> list[Layer]:
        """The contexts that hold for an agent. NotFound names those there are."""
        name = manifest.security_context
        own = {context.name: context for context in manifest.security_contexts}
        if name not in own and name not in self._contexts and name != DEFAULT_CONTEXT:
            known = ", ".join(sorted({*own, *self._contexts, DEFAULT_CONTEXT}))
            raise NotFound(
                f"There is no security context {name}, only {known}",
                next_step="Define it in security_contexts of the node's configuration, or in the manifest",
            )
        found = [Layer("manifest", own[name])] if name in own else []
        of_node = self._contexts.get(name) or self._contexts.get(DEFAULT_CONTEXT)
        return [*found, Layer("node", of_node)] if of_node is not None else found

    def of_node(self, manifest: AgentManifest) -> list[SecurityContext]:
        """Those of the layers that are the node's; none when the manifest names what there is not."""
        try:
            return [layer.context for layer in self.layers(manifest) if layer.origin == "node"]
        except NotFound:
            return []

    def by_name(self, manifest: AgentManifest, tool: str) -> Decision:
        """By the tool's name alone; what is allowed may still be refused for its arguments."""
        rules = tuple(f"manifest: tools ({each})" for each in manifest.tools if tool_allowed([each], tool))
        if not rules:
            why = f"the tool {tool} is not allowed here (allowed: {', '.join(manifest.tools) or 'none'})"
            return Decision(("manifest: tools",), why)
        try:
            layers = self.layers(manifest)
        except NotFound as error:  # it was there when the execution began
            return Decision(("node: security_contexts",), error.message)
        for layer in layers:
            judged = judge_name(layer.context, tool)
            if not judged.allowing:
                return layer.refused(judged)
        return Decision(rules[:1])

    def may_visit(self, manifest: AgentManifest, tool: str, url: str) -> Decision:
        """Whether a tool may go on to this URL, for redirects: domains only, and nothing is counted."""
        return self._judged(manifest, tool, Touched(urls=(url,)), ())[0]

    async def decide(
        self,
        manifest: AgentManifest,
        tool: str,
        touched: Touched,
        mount_paths: Sequence[str],
        rates: RateLimits,
        clock: Clock,
    ) -> Decision:
        """The whole question, and the call is counted when the answer is yes."""
        decision, candidates = self._judged(manifest, tool, touched, mount_paths)
        if not decision.allowed:
            return decision
        if any(layer.limit(number).limits for layer, numbers in candidates for number in numbers):
            await rates.load(clock)
        now = clock.monotonic()
        rules = []
        for layer, numbers in candidates:
            refusals = {layer.rule(n): rates.refusal(tool, layer.rule(n), layer.limit(n), now) for n in numbers}
            free = next((rule for rule, refusal in refusals.items() if not refusal), None)
            if free is None:
                return Decision(tuple(refusals), "; and ".join(dict.fromkeys(refusals.values())))
            rules.append(free)
        rates.count(rules, now)
        return Decision((*decision.rules, *rules))

    def _judged(
        self, manifest: AgentManifest, tool: str, touched: Touched, mount_paths: Sequence[str]
    ) -> tuple[Decision, list[tuple[Layer, tuple[int, ...]]]]:
        """Everything but rates: the decision, and in each layer the capabilities that allow the call."""
        named = self.by_name(manifest, tool)
        if not named.allowed:
            return named, []
        rules = list(named.rules)
        candidates = []
        try:
            for url in touched.urls:
                host, port = url_host(url), url_port(url)
                ruling = network_ruling(manifest.security.network, host, port)
                if not ruling.allowed:
                    why = f"{host} is not allowed by the agent's network policy ({ruling.rule})"
                    return Decision((f"manifest: {ruling.rule}",), why), []
                rules.append(f"manifest: {ruling.rule}")
            for layer in self.layers(manifest):
                judged = judge(layer.context, tool, touched, mount_paths)
                if not judged.allowing:
                    return layer.refused(judged), []
                candidates.append((layer, judged.allowing))
        except ValueError as error:  # of `url_host`
            return Decision(("url",), str(error)), []
        return Decision(tuple(dict.fromkeys(rules))), candidates
