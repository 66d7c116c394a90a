"""The studio's words, English and Chinese together. `WORDS` goes to the page whole; the rest are answers."""

from markupsafe import Markup, escape

from medillus_pipeline.review.wording import Bilingual

WRONG_TOKEN = Bilingual(
    "This token is not the one, or was used already. Start the studio again for a new one.",
    "令牌不正确或已被使用。请重新启动工作室以获取新令牌。",
)
GONE = Bilingual(
    "This figure is no longer kept: make it again, the same request gives the same figure.",
    "此图已不再保留：请重新生成，相同的请求得到相同的图。",
)
NOWHERE = Bilingual("There is nothing at this address.", "此地址没有内容。")
BROKEN = Bilingual(
    "Something went wrong in the studio. Nothing was kept; the terminal says where it happened.",
    "工作室出现错误。未保留任何内容；终端中有出错位置。",
)
BUSY = Bilingual("A figure is being made already. Try again when it is done.", "正在生成另一幅图，请稍后再试。")
NOTED = Bilingual("Noted. The note is not signed and counts as no approval.", "已记录。此记录未经签名，不计为批准。")
LANDED = Bilingual(
    "The verdict ({decision}) on version {version} is in landing; the next run takes it.",
    "对第 {version} 版的评审（{decision}）已送达，将由下一次运行处理。",
)

WORDS: dict[str, Bilingual] = {
    "title": Bilingual("Studio", "图解工作室"),
    "subtitle": Bilingual("From a drawing or a sentence to a labelled figure", "由手绘或文字生成标注图"),
    "not_for_diagnosis": Bilingual("AI-generated. Not for diagnosis.", "人工智能生成，不用于诊断。"),
    "interface": Bilingual("Language of this page", "界面语言"),
    "token_title": Bilingual("This studio asks for its token", "请输入工作室令牌"),
    "token_hint": Bilingual(
        "It stands in the terminal where the studio was started, or comes from whoever runs it.",
        "令牌显示在启动工作室的终端中，或由管理员提供。",
    ),
    "token": Bilingual("Token", "令牌"),
    "enter": Bilingual("Open", "进入"),
    "what": Bilingual("1  What to show", "1  显示什么"),
    "way": Bilingual("How to say it", "输入方式"),
    "way_organs": Bilingual("Draw organs", "绘制器官"),
    "way_sketch": Bilingual("Sketch lines", "线条草图"),
    "way_words": Bilingual("Words only", "仅用文字"),
    "tool": Bilingual("Tool", "工具"),
    "brush": Bilingual("Brush", "画笔"),
    "polygon": Bilingual("Polygon", "多边形"),
    "eraser": Bilingual("Eraser", "橡皮"),
    "pen": Bilingual("Pen", "钢笔"),
    "size": Bilingual("Size", "粗细"),
    "undo": Bilingual("Undo", "撤销"),
    "clear": Bilingual("Clear", "清空"),
    "upload_mask": Bilingual("Upload a mask (PNG)", "上传标注图 (PNG)"),
    "upload_sketch": Bilingual("Upload a sketch (PNG, JPEG, SVG)", "上传草图 (PNG、JPEG、SVG)"),
    "uploaded": Bilingual("Uploaded: {name}. It is used instead of the canvas.", "已上传：{name}。将代替画布使用。"),
    "upload_gone": Bilingual("Back to the canvas", "返回画布"),
    "too_large": Bilingual(
        "The file is larger than 8 MB: choose a smaller picture.", "文件超过 8 MB：请选择较小的图片。"
    ),
    "structure": Bilingual("Structure", "结构"),
    "find": Bilingual("Find a structure", "查找结构"),
    "line_free": Bilingual("black line, read by the network", "黑色线条，由网络识别"),
    "line_named": Bilingual("Name the line", "为线条命名"),
    "flip": Bilingual("Mirror left and right", "左右镜像"),
    "partial": Bilingual("Only part of the anatomy is drawn", "只画了部分结构"),
    "canvas_organs": Bilingual(
        "Canvas for organs. Seen from the feet: the patient's right is on the left. Arrow keys move the pointer, space "
        "paints or sets a corner, Enter closes a polygon.",
        "器官画布。自足侧观察：图像左侧为患者右侧。方向键移动光标，空格绘制或设置顶点，回车闭合多边形。",
    ),
    "canvas_sketch": Bilingual(
        "Canvas for a sketch. Seen from the feet: the patient's right is on the left. Arrow keys move the pen, space "
        "puts it down or lifts it.",
        "草图画布。自足侧观察：图像左侧为患者右侧。方向键移动钢笔，空格落笔或提笔。",
    ),
    "right": Bilingual("patient's right", "患者右侧"),
    "left": Bilingual("patient's left", "患者左侧"),
    "anterior": Bilingual("anterior", "前"),
    "posterior": Bilingual("posterior", "后"),
    "polygon_hint": Bilingual(
        "Click corners; close with a double click or Enter. Escape gives up.",
        "单击设置顶点；双击或回车闭合，Esc 取消。",
    ),
    "empty_organs": Bilingual("Choose a structure and draw it here", "选择结构后在此绘制"),
    "empty_sketch": Bilingual("Draw closed outlines here", "在此绘制闭合轮廓"),
    "words_label": Bilingual("Request in words (English or Chinese)", "文字请求（中文或英文）"),
    "words_placeholder": Bilingual(
        "for example: axial abdominal CT, enlarged spleen, no gallbladder", "例如：横断面腹部CT，脾大，无胆囊"
    ),
    "shown_back": Bilingual(
        "What was understood. Correct the sentence if it is not what you meant.", "理解结果。如与原意不符，请修改文字。"
    ),
    "cannot": Bilingual("These models cannot draw:", "当前模型无法绘制："),
    "how": Bilingual("2  How", "2  如何生成"),
    "seed": Bilingual("Seed", "随机种子"),
    "another": Bilingual("Another", "换一个"),
    "steps": Bilingual("Steps", "步数"),
    "guidance": Bilingual("Guidance", "引导强度"),
    "candidates": Bilingual("Candidates", "候选数"),
    "level": Bilingual("Level, feet 0 to head 1", "层面（足0至头1）"),
    "level_any": Bilingual("likeliest", "自动"),
    "look": Bilingual("3  Look", "3  外观"),
    "style": Bilingual("Style", "样式"),
    "style_radiology": Bilingual("Radiology", "影像"),
    "style_textbook": Bilingual("Textbook", "教科书"),
    "style_patient": Bilingual("For patients", "患者"),
    "style_journal": Bilingual("Journal", "期刊"),
    "style_quiz": Bilingual("Quiz", "测验"),
    "marks": Bilingual("Marks", "标记"),
    "marks_style": Bilingual("as the style has it", "随样式"),
    "marks_outlines": Bilingual("Outlines", "轮廓"),
    "marks_fills": Bilingual("Fills", "填充"),
    "palette": Bilingual("Colours", "配色"),
    "palette_vocabulary": Bilingual("of the vocabulary", "术语表配色"),
    "palette_colour-blind": Bilingual("colour-blind-safe", "色盲友好"),
    "figure_language": Bilingual("Language of the figure", "图中语言"),
    "language_both": Bilingual("English and Chinese", "中英双语"),
    "language_en": Bilingual("English", "英文"),
    "language_zh": Bilingual("Chinese", "中文"),
    "center": Bilingual("Window centre", "窗位"),
    "width": Bilingual("Window width", "窗宽"),
    "hu": Bilingual("HU", "HU"),
    "make": Bilingual("Make the figure", "生成图"),
    "making": Bilingual("Making the figure …", "正在生成……"),
    "changing": Bilingual("Changing the look …", "正在更新外观……"),
    "made": Bilingual("Made in {seconds} s.", "用时 {seconds} 秒。"),
    "busy": BUSY,
    "offline": Bilingual("The studio does not answer. Is it still running?", "工作室没有响应。它还在运行吗？"),
    "figure": Bilingual("Figure", "图"),
    "no_figure": Bilingual("The figure appears here.", "图将显示在此处。"),
    "no_figure_hint": Bilingual(
        "Draw organs, sketch their outlines, or say in words what to show. Then make the figure.",
        "绘制器官、勾画轮廓或用文字描述，然后生成图。",
    ),
    "refused": Bilingual("No figure was made", "未生成图"),
    "refused_why": Bilingual(
        "Nothing is shown that did not pass the checks. Reasons:", "未通过检查的图不予显示。原因："
    ),
    "checks": Bilingual("Checks", "检查"),
    "passed": Bilingual("passed", "通过"),
    "failed": Bilingual("failed", "未通过"),
    "chosen": Bilingual("shown", "已采用"),
    "candidate": Bilingual("Candidate {number}, seed {seed}", "候选 {number}，种子 {seed}"),
    "remarks": Bilingual("Remarks", "说明"),
    "understood": Bilingual("Understood", "理解"),
    "names": Bilingual("Names in the figure", "图中标注的结构"),
    "confidence": Bilingual("confidence", "置信度"),
    "all": Bilingual("All", "全选"),
    "none": Bilingual("None", "全不选"),
    "edit": Bilingual("Edit its labels on the canvas", "在画布上修改标注"),
    "edited": Bilingual("The figure's labels are on the canvas.", "图的标注已载入画布。"),
    "edit_confirm": Bilingual("This replaces your drawing; undo brings it back.", "将替换当前绘图；可撤销。"),
    "download": Bilingual("Download", "下载"),
    "kind_svg": Bilingual("SVG", "SVG"),
    "kind_png": Bilingual("PNG", "PNG"),
    "kind_pdf": Bilingual("PDF", "PDF"),
    "kind_dicom": Bilingual("DICOM", "DICOM"),
    "kind_html": Bilingual("Interactive page", "交互网页"),
    "kind_answers": Bilingual("Answer key", "答案"),
    "kind_json": Bilingual("Provenance", "来源信息"),
    "kind_manifest": Bilingual("Signed manifest", "签名清单"),
    "verdict": Bilingual("Your verdict", "您的评价"),
    "comment": Bilingual("Comment", "意见"),
    "approve": Bilingual("Approve", "认可"),
    "reject": Bilingual("Reject", "不认可"),
    "unsigned": Bilingual(
        "A click is a note on this figure: not signed, and it counts as no approval. What counts is a signed verdict "
        "on a blind sheet:",
        "点击仅为对此图的记录：未签名，不计为批准。正式批准须在盲评表上签名：",
    ),
    "sheet": Bilingual("Download the sheet", "下载盲评表"),
    "return": Bilingual("Hand in a signed verdict", "提交已签名的评审"),
    "stale": Bilingual("The model's report holds no longer", "模型的验证报告已失效"),
    "missing": Bilingual("Not available here", "此处不可用"),
    "model_line": Bilingual("{name} version {version}, report: {verdict}", "{name} 第 {version} 版，报告：{verdict}"),
    "no_report": Bilingual("none", "无"),
}


def both(text: Bilingual) -> Markup:
    """Both languages; the style sheet shows one of them."""
    return Markup(f'<span lang="en">{escape(text.en)}</span><span lang="zh-CN">{escape(text.zh)}</span>')
