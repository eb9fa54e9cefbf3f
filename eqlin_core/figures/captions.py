"""What every chart shows, in a sentence for a caption."""

from .provenance import Provenance

DRAWN = {
    "agreement": "Agreement between the terms of the exact maps.",
    "answer-heatmap": "What every part of the text adds to every part of the answer.",
    "compared-spectra": "Singular values of the aligned tokens' matrices in two runs.",
    "compared-terms": "Terms of two runs, and the change of each on the way from one prediction to the other.",
    "counterfactual": "What swapped tokens change: the frozen map's part of each, and what freezing hides.",
    "deletion-curves": "What is left of the prediction as tokens are deleted.",
    "direct-layers": "What the attention and the MLP of each layer write directly of what is explained.",
    "first-layers": "The first layer at which each token's map writes a token.",
    "head-tokens": "What one head writes of what is explained, by input token.",
    "heads": "What every attention head writes of what is explained.",
    "hidden-effects": "The effect of each token's deletion, by the exact map and by what freezing holds fixed.",
    "insertion-curves": "What of the prediction is there as tokens are kept.",
    "joint-spectrum": "Singular values of all tokens' matrices together.",
    "layer-path": "The leading left singular vectors of each layer, on those of the last.",
    "layer-spectra": "Singular values of the maps to every layer.",
    "layer-stable-ranks": "Stable ranks of the maps to every layer.",
    "leave-one-out": "How far the prediction falls without each token.",
    "lens-ranks": "The rank of a token in every read-out of the stream, and how near lenses are to this map.",
    "lens-table": "What the stream reads as after every block, as tokens.",
    "line-norms": "Norms of a matrix's rows and columns.",
    "matrix": "One input token's matrix.",
    "method-means": "Agreement of attribution methods with deleting tokens.",
    "norms-and-cosines": "Length of each token's contribution, and its cosine with the output.",
    "rank": "The prediction with every matrix cut to rank r.",
    "reach": "The frozen map against the model as one token becomes another.",
    "reach-parts": "What of a change the frozen map has, and what attention, norms and gates add.",
    "read-out": "What a singular triplet writes and reads, as tokens.",
    "readout-table": "What the maps to every layer write, as tokens.",
    "reconstruction": "Each dimension of the reconstructed output against the output.",
    "reconstruction-errors": "Errors of the reconstructed output by dimension.",
    "singular-values": "Singular values of each input token's matrix.",
    "stable-ranks": "Stable rank of each input token's matrix.",
    "steering-forecast": "Logits under steering, and how far the frozen map forecasts them.",
    "steering-metrics": "Effects of steering by strength.",
    "study-histograms": "How a number is spread over the prompts of a study.",
    "study-scatter": "Two numbers of a study, a point for each prompt or token.",
    "subspace-angles": "Principal angles between the leading subspaces of two runs.",
    "target-effects": "What a singular triplet adds to the logits of likely next tokens.",
    "token-target-heatmap": "What each input token adds to the logits of the likely next tokens.",
    "top-tokens": "The most likely next tokens by rank.",
    "triplet-effect": "What each singular triplet of one token adds to what is explained.",
    "waterfall": "The prediction as an exact sum of one term for each input token.",
}


def caption_of(name: str, provenance: Provenance | None) -> str:
    """What a chart of this name shows, and of what run where that is known."""
    drawn = DRAWN.get(name, f"{name.replace('-', ' ').capitalize()}.")
    if provenance is None:
        return drawn
    prompt, token = (_printable(text) for text in (" ".join(provenance.prompt.split()), provenance.explained))
    explained = f" Explained next token: “{token}”." if token else ""
    return (
        f"{drawn} Prompt: “{prompt}”.{explained} {provenance.model}, {provenance.dtype}, map {provenance.convention}; "
        f"eqlin {provenance.version}."
    )


def _printable(text: str) -> str:
    """The text without characters that no file of text may hold, or that no reader sees."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
